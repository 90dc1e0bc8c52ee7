"""What a run was, gathered from its folder: a page, tables, a paragraph for Methods."""

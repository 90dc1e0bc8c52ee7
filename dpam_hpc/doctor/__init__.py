"""Is everything there that a run needs: facts are gathered, judged, shown with a remedy each."""

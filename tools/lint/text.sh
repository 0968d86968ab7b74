#!/usr/bin/env bash
# Lints everything but Rust: Python, Markdown, shell, YAML, workflows, spelling, and what must be in no file.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools/lint/setup.sh
PATH=$PWD/.venv/bin:$PATH

python_folders=(benches docs ffi infra python release server weights tools)
ruff check --quiet "${python_folders[@]}"
ruff format --quiet --check "${python_folders[@]}"
(cd docs && mypy --strict --no-error-summary ./*.py ../release/*.py ../tools/*.py)
(cd weights && mypy --no-error-summary)
(cd python && mypy --no-error-summary)
tools/lint/node_modules/.bin/markdownlint-cli2 '**/*.md' >/dev/null
git ls-files -z -- '*.sh' .ci/run weights/release | xargs -0 shellcheck
yamllint --strict .
actionlint
git ls-files -z -- '*.md' '*.rs' '*.py' '*.sh' '*.toml' '*.yml' '*.yaml' '*.c' '*.h' '*.css' '*.html' Makefile | xargs -0 codespell
tools/version.py >/dev/null
tools/lock.sh --check

# Unfinished work, paths of somebody's machine, code that was commented out.
none() { # WHAT PATTERN [PATHS…]
  local what=$1 pattern=$2
  shift 2
  if git grep -nIE "$pattern" -- "$@" ':!tools/lint/text.sh'; then
    echo "no $what, please" >&2
    exit 1
  fi
}
none 'unfinished work' '\b(TODO|FIXME)\b' . ':!*lock*' ':!*.html'
none 'machine path' '(^|[[:space:]"=(`])/(home/[a-z]+|root|Users|work/(main|shared|evaluation))/' . ':!*.html' ':!infra/vagrant'
none 'commented-out code' '^\s*//\s*(let|if|for|fn|use|return|match|self\.)\b.*[;{]$' '*.rs' '*.c' '*.h' '*.mjs' '*.js'
none 'commented-out code' '^\s*#\s*(import \w+$|from \w+ import |def \w+\(|return |print\(|self\.\w+ = )' '*.py'

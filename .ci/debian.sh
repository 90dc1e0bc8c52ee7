# shellcheck shell=bash
# For the scripts beside this one: packages of another Debian suite, without touching the machine's own sources.

debian_uri() { # where the machine's own sources have a suite's main component from
    # shellcheck disable=SC2016 # apt expands it
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' \
        'Component: main' "Codename: $1" | sed -n 1p
}

own_codename() { sed -n 's/^VERSION_CODENAME=//p' /etc/os-release; }

# Unpack packages of a suite's main component in FOLDER: URI SUITE FOLDER PACKAGE...
unpack_from() {
    local uri=$1 suite=$2 folder=$3 state deb apt
    shift 3
    state=$(mktemp -d)
    mkdir -p "$state"/{lists,archives}/partial "$state/debs"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main" > "$state/list"
    apt=(apt-get -qq -o "Dir::Etc::sourcelist=$state/list" -o Dir::Etc::sourceparts=-
        -o "Dir::State::lists=$state/lists" -o "Dir::Cache::archives=$state/archives"
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root
        -o Acquire::Languages=none)
    "${apt[@]}" update >&2
    (cd "$state/debs" && "${apt[@]}" download "$@" >&2)
    for deb in "$state"/debs/*.deb; do dpkg-deb -x "$deb" "$folder"; done
    rm -rf "$state"
}

# Install those packages that are missing.
install_missing() {
    local missing=() package
    for package; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
    ((${#missing[@]})) || return 0
    echo "${0##*/}: installing ${missing[*]}" >&2
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

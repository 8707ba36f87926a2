# Shared by the commands in this folder; sourced, never run.
# shellcheck shell=bash
#
# What is missing is installed where that is possible without asking (Debian or Ubuntu, as root or with a sudo that wants
# no password); everywhere else the command to type is printed, and nothing is changed.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
CACHE="${PUSHRAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pushrail}"
export ROOT CACHE

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# step TEXT COMMAND...: runs it with a line that says what and how long. Its own output stays visible.
step() {
    local what="$1" from=$SECONDS
    shift
    say "== $what"
    "$@" || { local rc=$?; say "== $what: failed (exit $rc) after $((SECONDS - from)) s"; return "$rc"; }
    say "== $what: $((SECONDS - from)) s"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo "$@"
    else return 126
    fi
}

# packages NAME...: Debian packages, installed in one go when we may.
packages() {
    local hint="sudo apt-get install $*"
    command -v apt-get >/dev/null || die "needed and missing; on Debian or Ubuntu: $hint"
    as_root true || die "needed and missing; install with: $hint"
    say "== installing: $*"
    local try
    for try in 1 2 3; do
        if as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2 </dev/null
        then return 0; fi
        # An image's package list may be missing or old.
        as_root apt-get update -q >&2 </dev/null || say "   apt-get update failed (try $try of 3)"
    done
    die "could not install them; by hand: $hint"
}

# The major version of the java that would run, or nothing.
java_major() {
    local java=java
    [ -n "${JAVA_HOME:-}" ] && java="$JAVA_HOME/bin/java"
    "$java" -version 2>&1 | sed -n 's/.*version "\(1\.\)\{0,1\}\([0-9]*\).*/\2/p' | head -n 1
}

need_java() {
    local major
    major="$(java_major)"
    if [ -n "$major" ] && [ "$major" -ge 17 ]; then return 0; fi
    [ -z "${JAVA_HOME:-}" ] || die "JAVA_HOME ($JAVA_HOME) has no Java 17 or newer: point it at one, or unset it"
    packages openjdk-17-jre-headless
}

# What tar unpacks PostgreSQL with.
need_xz() { command -v xz >/dev/null || packages xz-utils; }

need_python() {
    command -v python3 >/dev/null || packages python3 python3-venv
    python3 -c 'import venv, ensurepip' 2>/dev/null || packages python3-venv
}

# What downloads a Python that the system does not have.
UV_VERSION=0.13.9

# python_of VERSION: prints a Python of that version that runs: the system's, pyenv's, or one that uv has or downloads.
python_of() {
    local try
    # pyenv puts a command on the path for each version that it has, and runs only the one that is chosen.
    for try in "python$1" "$HOME/.pyenv/versions/$1".*/bin/python; do
        if "$try" -c 'import venv, ensurepip' 2>/dev/null; then
            echo "$try"
            return 0
        fi
    done
    need_python
    local uv="$CACHE/venvs/uv-$UV_VERSION"
    if [ ! -e "$uv/ready" ]; then
        rm -rf "$uv"
        python3 -m venv "$uv" >&2
        "$uv/bin/pip" -q --disable-pip-version-check install "uv==$UV_VERSION" >&2
        touch "$uv/ready"
    fi
    if ! "$uv/bin/uv" python find --no-project "$1" 2>/dev/null; then
        say "== downloading Python $1 (once)"
        "$uv/bin/uv" python install -q "$1" >&2 || die "Python $1 is needed, and could not be downloaded: install it by hand"
        "$uv/bin/uv" python find --no-project "$1"
    fi
}

# pushrail_dev [FOLDER]: reads dev.env of the `pushrail dev` that runs on FOLDER; without one starts one on free ports,
# which ends with the script, or with end_dev. PUSHRAIL_BIN is the program, target/release/pushrail by default.
pushrail_dev() {
    pushrail="${PUSHRAIL_BIN:-$ROOT/target/release/pushrail}"
    [ -x "$pushrail" ] || die "$pushrail is not there: build it with cargo build --release -p pushrail, or set PUSHRAIL_BIN"
    own="" data="${1:-}"
    if [ -z "$data" ]; then
        data="$(mktemp -d)"
        trap kill_dev EXIT
        "$pushrail" dev --data-dir "$data" --port 0 >"$data/dev.log" 2>&1 &
        own=$!
        until [ -e "$data/dev.env" ]; do
            kill -0 "$own" 2>/dev/null || { own=""; cat "$data/dev.log" >&2; die "pushrail dev did not start"; }
            sleep 0.2
        done
    fi
    # shellcheck source=/dev/null
    source "$data/dev.env"
}

# shellcheck disable=SC2317 # called by the trap
kill_dev() {
    if [ -n "$own" ]; then
        kill -INT "$own" 2>/dev/null || true
        wait "$own" 2>/dev/null || true
        rm -rf "$data"
    fi
}

# Stops the one that pushrail_dev has started, if it has, and shows how it drains.
end_dev() {
    [ -n "$own" ] || return 0
    kill -INT "$own"
    wait "$own" || die "pushrail dev ended with $?: $(tail -n 5 "$data/dev.log")"
    own=""
    [ ! -e "$data/dev.env" ] || die "dev.env is still there"
    sed -n '/Draining/,$p' "$data/dev.log"
    rm -rf "$data"
}

# What a build needs: a C compiler and the headers that librdkafka links against.
need_build_tools() {
    local missing=()
    command -v cc >/dev/null && command -v make >/dev/null && command -v c++ >/dev/null || missing+=(build-essential)
    command -v pkg-config >/dev/null || missing+=(pkg-config)
    if command -v pkg-config >/dev/null; then
        pkg-config --exists openssl || missing+=(libssl-dev)
        pkg-config --exists zlib || missing+=(zlib1g-dev)
    else
        missing+=(libssl-dev zlib1g-dev)
    fi
    command -v git >/dev/null || missing+=(git)
    [ ${#missing[@]} = 0 ] || packages "${missing[@]}"
}

# A Rust at least as new as the workspace's rust-version: the one on the path, else one that rustup has or can install.
# Pinned there and not in a rust-toolchain.toml, which would refuse a newer Rust that serves as well.
need_rust() {
    local wanted have toolchain
    if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
        export PATH="$HOME/.cargo/bin:$PATH"
    fi
    wanted="$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")"
    command -v cargo >/dev/null ||
        die "Rust is missing: install rustup as https://rustup.rs says, then: rustup toolchain install $wanted"
    have="$(rust_version cargo)"
    ! at_least "$have" "$wanted" || return 0
    command -v rustup >/dev/null || die "Rust ${have:-of unknown version} is older than $wanted: install $wanted or newer"
    for toolchain in $(rustup toolchain list | sed 's/ .*//'); do
        if at_least "$(rust_version cargo "+$toolchain")" "$wanted"; then
            export RUSTUP_TOOLCHAIN="$toolchain"
            return 0
        fi
    done
    say "== installing Rust $wanted"
    rustup toolchain install "$wanted" --profile minimal -c rustfmt -c clippy >&2 ||
        die "could not install it; by hand: rustup toolchain install $wanted"
    export RUSTUP_TOOLCHAIN="$wanted"
}

rust_version() { (cd "$ROOT" && "$@" --version 2>/dev/null) | sed -n 's/cargo \([0-9.]*\).*/\1/p'; }

# at_least HAVE WANTED: whether version HAVE is WANTED or newer; an empty HAVE is not.
at_least() { [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

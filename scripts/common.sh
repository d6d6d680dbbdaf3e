# shellcheck shell=bash
# What the shell commands in this folder share. Source it; it sets `root` and defines functions, nothing else.

# shellcheck disable=SC2034
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
me=${0##*/}

# Status 3 says "this machine cannot", as against "it went wrong": a caller may go on without.
readonly cannot_status=3

say() { printf '%s: %s\n' "$me" "$*" >&2; }
die() { say "$*"; exit 1; }
cannot() { say "$*"; exit "$cannot_status"; }

# have_space GIB FOLDER WHAT: ends the command where the disk is too small for what is about to be written.
have_space() {
  local free
  free=$(($(df -Pk "$2" | awk 'NR == 2 { print $4 }') / 1048576))
  [ "$free" -ge "$1" ] || cannot "$3 needs $1 GiB of disk, $2 has $free GiB free; make room and run this again"
}

# Succeeds where a Docker engine answers.
docker_answers() { command -v docker >/dev/null && timeout 20 docker info >/dev/null 2>&1; }

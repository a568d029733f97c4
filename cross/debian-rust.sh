# shellcheck shell=bash
# Sourced by check.sh. Debian's own Rust, for machines that cannot reach Rust's server: Debian carries a current rustc
# for its browsers (`rustc-web`), with a standard library for arm64 of the same version and the sources of it. The
# packages come through the machine's own apt, with a state of its own: nothing is installed, no architecture added.

# debian_rust CACHE: unpacks into CACHE/debian-rust (about 1.2 GB), and sets RUSTC and RUSTDOC.
debian_rust() {
  local home=$1/debian-rust
  local root=$home/root
  if [ ! -x "$home/bin/rustc" ]; then
    local state=$home/apt llvm version
    mkdir -p "$state"/{lists/partial,archives/partial} "$home/bin" "$home/packages"
    : >"$state/status"
    # The machine's Debian archives, by whatever mirror it uses.
    # shellcheck disable=SC2016
    apt-get indextargets --format 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(REPO_URI) $(RELEASE) main|$(ORIGIN)' \
      'Created-By: Packages' | sed -n 's/|Debian$//p' | sort -u >"$state/sources.list"
    [ -s "$state/sources.list" ] || { echo "apt knows no Debian archive: run apt-get update" >&2; return 1; }
    _apt() {
      apt-get -q -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=- -o Dir::Etc::preferences=/dev/null \
        -o Dir::Etc::preferencesparts=/dev/null -o Dir::State::lists="$state/lists" -o Dir::State::status="$state/status" \
        -o Dir::Cache::archives="$state/archives" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 -o Acquire::Languages=none -o APT::Sandbox::User=root "$@"
    }
    _apt update >&2 || return 1
    (
      cd "$home/packages" && rm -f ./*.deb
      _apt download rustc-web rust-web-src libstd-rust-web-dev:amd64 libstd-rust-web-dev:arm64 >&2 || exit 1
      version=$(dpkg-deb -f rustc-web_*.deb Version | grep -oE '^[0-9]+\.[0-9]+')
      _apt download "libstd-rust-web-$version:amd64" >&2 || exit 1
      llvm=$(dpkg-deb -f "libstd-rust-web-$version"_*.deb Depends | grep -oE 'libllvm[0-9]+' | head -n 1)
      _apt download "$llvm:amd64" >&2 || exit 1
      # Standard libraries of two versions would be refused, one after the other, by every build.
      [ "$(for deb in libstd-rust-web-dev_*.deb; do dpkg-deb -f "$deb" Version; done | sort -u | wc -l)" = 1 ] ||
        { echo "the archive is between two versions of rustc-web; try again later" >&2; exit 1; }
    ) || return 1
    rm -rf "$root" && mkdir -p "$root"
    local deb
    for deb in "$home"/packages/*.deb; do dpkg -x "$deb" "$root" || return 1; done
    rm -rf "$home/packages" "$state"
    local tool
    for tool in rustdoc rustc; do
      printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s --sysroot %s "$@"\n' "$root/usr/lib/x86_64-linux-gnu" "$root/usr/bin/$tool" "$root/usr" >"$home/bin/$tool"
      chmod +x "$home/bin/$tool"
    done
  fi
  export RUSTC=$home/bin/rustc RUSTDOC=$home/bin/rustdoc
  "$RUSTC" -V >&2
}

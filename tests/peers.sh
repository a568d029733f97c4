#!/usr/bin/env bash
# Installs the peers that tests/peers talks to (Debian packages, as root) and runs those tests. `--no-install` goes by
# what is there; a test whose peer is absent says SKIPPED.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" = --no-install ]; then
    shift
else
    apt-get install -y --no-install-recommends mosquitto mosquitto-clients nginx-light prometheus chromium chromium-driver openssl python3-venv
    [ -x target/schemathesis/bin/schemathesis ] || {
        python3 -m venv target/schemathesis
        target/schemathesis/bin/pip install --quiet schemathesis
    }
fi
cargo test --features mqtt-tls --test suite peers:: -- --ignored --nocapture --test-threads 1 "$@"

//! The MQTT sink and a broker that wants TLS: certificates that fit, a broker nobody vouches for, a client certificate.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lookout::publish::Sink;
use lookout::publish::mqtt::{Mqtt, Tls};

use super::broker::{Broker, find};
use super::mosquitto::{balanced, connected, count, eventually, send, setup};

/// Runs openssl in `folder`.
fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Two authorities; a server's certificate and a client's of the first, all readable by the broker.
fn certificates(folder: &Path) {
    for name in ["ca", "other"] {
        openssl(
            folder,
            &format!("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem"),
        );
    }
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        .unwrap();
    for name in ["server", "client"] {
        openssl(folder, &format!("req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"));
        openssl(
            folder,
            &format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out {name}.pem"
            ),
        );
    }
    let open = |path: PathBuf, mode: u32| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    open(folder.to_owned(), 0o755);
    for entry in std::fs::read_dir(folder).unwrap() {
        open(entry.unwrap().path(), 0o644);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mosquitto and openssl: run tests/peers.sh"]
async fn only_a_broker_that_the_authority_vouches_for_is_told_anything() {
    if find("openssl").is_none() || find("mosquitto").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let at = |name: &str| folder.path().join(name);
    let lines = format!(
        "listener PORT 127.0.0.1\nallow_anonymous true\ncafile {0}/ca.pem\ncertfile {0}/server.pem\nkeyfile {0}/server.key\nrequire_certificate true\n",
        folder.path().display()
    );
    let Some(broker) = Broker::start(folder.path(), &lines) else { return };
    let ours = Some((at("client.pem"), at("client.key")));
    for protocol in [4, 5] {
        for (name, ca, certificate, let_in) in [
            ("right", "ca.pem", ours.clone(), true),
            ("another authority", "other.pem", ours.clone(), false),
            ("no certificate of our own", "ca.pem", None, false),
        ] {
            let site = folder.path().join(format!("{protocol}-{}", name.len()));
            let setup = setup(&site, broker.port, |setup| {
                setup.broker.host = "localhost".into();
                setup.broker.protocol = protocol;
                setup.broker.tls = Some(Tls { ca_file: Some(at(ca)), certificate });
            });
            let metrics = setup.metrics.clone();
            let mut sink = Mqtt::start(setup).unwrap();
            send(&mut sink, 0..20).await;
            if let_in {
                let watched = metrics.clone();
                eventually("let in", move || count(&watched, "delivered") == 20).await;
                sink.flush().await.unwrap();
            } else {
                tokio::time::sleep(Duration::from_secs(3)).await;
                assert!(!connected(&metrics), "{protocol} {name}");
                assert_eq!(count(&metrics, "delivered"), 0, "{protocol} {name}");
            }
            balanced(&metrics);
        }
    }
}

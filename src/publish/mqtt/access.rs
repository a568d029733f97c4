//! Credentials of a connection: password and certificates, read from their files at every connection, so that renewed ones
//! take effect without a restart. Their content is never logged.

use super::Broker;
use crate::error::{Error, Kind, Result};

/// Secrets in memory while a connection is being made.
pub struct Access {
    /// User name and password.
    pub login: Option<(String, Vec<u8>)>,
    /// TLS settings.
    #[cfg(feature = "mqtt-tls")]
    pub tls: Option<rumqttc_v5::TlsConfiguration>,
}

impl Access {
    /// Reads the files that `broker` names.
    ///
    /// # Errors
    ///
    /// As [`Error::reading`], or [`Kind::Config`] if this build has no TLS.
    pub fn read(broker: &Broker) -> Result<Self> {
        let login = match (&broker.username, &broker.password_file) {
            (Some(user), Some(path)) => {
                let mut password =
                    crate::config::read_secret(path).map_err(|error| error.at("publish.password_file"))?;
                // Editors append a newline, which is not part of the password.
                while password.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                    password.pop();
                }
                crate::redact::learn_secret(&String::from_utf8_lossy(&password));
                Some((user.clone(), password))
            }
            (Some(user), None) => Some((user.clone(), Vec::new())),
            (None, _) => None,
        };
        Ok(Self {
            login,
            #[cfg(feature = "mqtt-tls")]
            tls: broker.tls.as_ref().map(tls).transpose()?,
        })
    }
}

/// TLS configuration of rustls with ring.
#[cfg(feature = "mqtt-tls")]
fn tls(tls: &super::Tls) -> Result<rumqttc_v5::TlsConfiguration> {
    use rumqttc_v5::TlsConfiguration;

    let read = |path: &std::path::Path| -> Result<Vec<u8>> {
        let path = crate::config::credential(path)?;
        std::fs::read(&path).map_err(|error| Error::reading(&path, error))
    };
    // The distributions' locations of CA certificates.
    const SYSTEM: &[&str] =
        &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
    let ca = match &tls.ca_file {
        Some(path) => read(path)?,
        None => SYSTEM.iter().find_map(|path| std::fs::read(path).ok()).ok_or_else(|| {
            Error::new(Kind::NoInput, "this system has no trusted certificates: name the broker's as ca_file")
        })?,
    };
    let client_auth = match &tls.certificate {
        Some((certificate, key)) => Some((read(certificate)?, read(key)?)),
        None => None,
    };
    Ok(TlsConfiguration::Simple { ca, alpn: None, client_auth })
}

/// Checks, before the first connection, that this build supports the requested TLS.
///
/// # Errors
///
/// [`Kind::Config`] if TLS is configured but not built in.
pub fn check(broker: &Broker) -> Result<()> {
    if broker.tls.is_some() && !cfg!(feature = "mqtt-tls") {
        return Err(Error::new(
            Kind::Config,
            "publish.tls: this build cannot encrypt; build it with --features mqtt-tls",
        ));
    }
    Ok(())
}

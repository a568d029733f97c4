//! What it takes to be let in: password and certificates, read from their files at every connection, so that a renewed
//! one is used without a restart. What they hold is never logged.

use super::Broker;
use crate::error::{Error, Kind, Result};

/// Secrets in memory, for as long as a connection is made.
pub struct Access {
    /// User and password.
    pub login: Option<(String, Vec<u8>)>,
    /// How to encrypt.
    #[cfg(feature = "mqtt-tls")]
    pub tls: Option<rumqttc_v5::TlsConfiguration>,
}

impl Access {
    /// Reads what `broker` names.
    ///
    /// # Errors
    ///
    /// As [`Error::reading`], or [`Kind::Config`] where this build cannot encrypt.
    pub fn read(broker: &Broker) -> Result<Self> {
        let login = match (&broker.username, &broker.password_file) {
            (Some(user), Some(path)) => {
                let path = crate::config::credential(path)?;
                let mut password = std::fs::read(&path).map_err(|error| Error::reading(&path, error))?;
                // Editors end files with a newline; passwords do not.
                while password.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                    password.pop();
                }
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

/// The settings of rustls, with ring.
#[cfg(feature = "mqtt-tls")]
fn tls(tls: &super::Tls) -> Result<rumqttc_v5::TlsConfiguration> {
    use rumqttc_v5::TlsConfiguration;

    let read = |path: &std::path::Path| -> Result<Vec<u8>> {
        let path = crate::config::credential(path)?;
        std::fs::read(&path).map_err(|error| Error::reading(&path, error))
    };
    // Where the distributions keep the certificates that their users trust.
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

/// Whether this build can encrypt; said before the first connection.
///
/// # Errors
///
/// [`Kind::Config`] if it is asked for and cannot.
pub fn check(broker: &Broker) -> Result<()> {
    if broker.tls.is_some() && !cfg!(feature = "mqtt-tls") {
        return Err(Error::new(
            Kind::Config,
            "publish.tls: this build cannot encrypt; build it with --features mqtt-tls",
        ));
    }
    Ok(())
}

//! TLS for tests: a certificate authority with certificates that it signs, and a proxy that ends TLS in front of a plain
//! server. It must not verify anything: Lagan does.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::process::{guarded, run};
use crate::{Scratch, tools};

const TIMEOUT: Duration = Duration::from_secs(30);

/// A certificate authority that no system trusts.
pub struct Authority {
    scratch: Scratch,
}

/// A certificate and its key, as PEM files.
pub struct CertificateFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// For a server at 127.0.0.1.
    Server,
    Client,
}

impl Authority {
    pub fn new() -> Result<Self> {
        let authority = Self { scratch: Scratch::new("authority")? };
        authority.openssl(
            &["-subj", "/CN=lagan-tests", "-keyout", "ca.key", "-out", "ca.crt"],
            &["keyUsage=critical,keyCertSign,cRLSign"],
        )?;
        Ok(authority)
    }

    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.scratch.join("ca.crt")
    }

    /// The authority's own certificate as PEM text.
    pub fn pem(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.certificate())?)
    }

    pub fn sign(&self, name: &str, usage: Usage) -> Result<CertificateFiles> {
        let (subject, key, certificate) = (format!("/CN={name}"), format!("{name}.key"), format!("{name}.crt"));
        let extensions: &[&str] = match usage {
            Usage::Server => &["extendedKeyUsage=serverAuth", "subjectAltName=IP:127.0.0.1,DNS:localhost"],
            Usage::Client => &["extendedKeyUsage=clientAuth"],
        };
        let mut all = vec!["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature"];
        all.extend(extensions);
        let arguments = ["-CA", "ca.crt", "-CAkey", "ca.key", "-subj", &subject, "-keyout", &key, "-out", &certificate];
        self.openssl(&arguments, &all)?;
        Ok(CertificateFiles { certificate: self.scratch.join(&certificate), key: self.scratch.join(&key) })
    }

    fn openssl(&self, arguments: &[&str], extensions: &[&str]) -> Result<()> {
        let mut command: Command = guarded(&tools::find("openssl")?);
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
        command.args(arguments).args(extensions.iter().flat_map(|extension| ["-addext", extension]));
        command.current_dir(self.scratch.path());
        run(command, TIMEOUT)?.success().map(drop).context("making a certificate")
    }
}

/// A server on loopback that speaks TLS, and passes what it decrypts to a plain server.
pub struct TlsProxy {
    port: u16,
}

impl TlsProxy {
    /// Starts a proxy in front of `127.0.0.1:to`. It ends with the test process.
    pub fn start(identity: &CertificateFiles, to: u16) -> Result<Self> {
        let chain = CertificateDer::pem_file_iter(&identity.certificate)?.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_file(&identity.key)?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || runtime.block_on(serve(listener, TlsAcceptor::from(Arc::new(config)), to)));
        Ok(Self { port })
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

async fn serve(listener: std::net::TcpListener, acceptor: TlsAcceptor, to: u16) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let mut client = acceptor.accept(client).await?;
            let mut server = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await
        });
    }
}

//! Encrypted connections: object stores whose certificate an own authority signed, and databases that ask for a client
//! certificate.

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lagan_tests::mariadb::MariaDbServer;
use lagan_tests::restic::Restic;
use lagan_tests::s3::S3Server;
use lagan_tests::tls::{Authority, TlsProxy, Usage};
use lagan_tests::world::{World, secret};

use super::{SHOP, a_small_world};

/// A Repository and a BackupConfiguration of one name, with lines for the Secret and for `s3`.
fn bucket(world: &World, server: &S3Server, name: &str, keys: &[(&str, &str)], s3: &str) -> Result<()> {
    let mut all = vec![("RESTIC_PASSWORD", world.password.as_str())];
    all.extend(keys);
    for (key, value) in [("AWS_ACCESS_KEY_ID", server.access_key()), ("AWS_SECRET_ACCESS_KEY", server.secret_key())] {
        if !keys.iter().any(|(given, _)| *given == key) {
            all.push((key, value));
        }
    }
    let yaml = format!(
        "{}---
apiVersion: lagan.dev/v1alpha1
kind: Repository
metadata: {{name: {name}}}
spec:
  backend:
    storageSecretName: {name}
    s3: {{bucket: backups, prefix: {name}, region: us-east-1, {s3}}}
",
        secret(name, &all)
    );
    world.lagan.manifest(&format!("{name}-repository.yaml"), &yaml)?;
    world.configure(name, name, SHOP, "")
}

#[test]
fn a_bucket_is_reached_by_https_with_the_authority_that_its_secret_names() -> Result<()> {
    let world = a_small_world()?;
    let server = S3Server::start()?;
    server.create_bucket("backups")?;
    let authority = Authority::new()?;
    let proxy = TlsProxy::start(&authority.sign("store", Usage::Server)?, server.port())?;
    let (address, pem) = (format!("127.0.0.1:{}", proxy.port()), authority.pem()?);

    let trusted = [("CA_CERT_DATA", pem.as_str())];
    bucket(&world, &server, "strange", &[], &format!("endpoint: \"https://{address}\""))?;
    bucket(&world, &server, "trusted", &trusted, &format!("endpoint: \"https://{address}/\""))?;
    bucket(&world, &server, "unverified", &[], &format!("endpoint: \"https://{address}\", insecureTLS: true"))?;
    // Without a scheme it is https. Keys that were pasted with line breaks are read as people mean them.
    let (access, key) = (format!("{}\n\n", server.access_key()), format!("\n{}\n", server.secret_key()));
    let pasted = [trusted[0], ("AWS_ACCESS_KEY_ID", access.as_str()), ("AWS_SECRET_ACCESS_KEY", key.as_str())];
    bucket(&world, &server, "pasted", &pasted, &format!("endpoint: \"{address}\""))?;
    let (half, rest) = server.access_key().split_at(4);
    let broken = format!("{half}\n{rest}");
    bucket(
        &world,
        &server,
        "broken",
        &[trusted[0], ("AWS_ACCESS_KEY_ID", &broken)],
        &format!("endpoint: \"{address}\""),
    )?;
    let _up = world.up(&[])?;

    let refused = world.backup("strange", &[])?;
    ensure!(refused.status.code() == Some(3), "an unknown authority: {}", refused.stderr);
    ensure!(server.list("backups", "strange/")?.is_empty());
    for name in ["trusted", "unverified", "pasted"] {
        world.good_backup(name)?;
        let restic = Restic::s3(&server, "backups", name, &world.password)?;
        ensure!(restic.snapshots()?.len() == 1, "{name}");
        restic.check()?;
    }
    let refused = world.backup("broken", &[])?;
    ensure!(refused.status.code() == Some(3), "{}", refused.stderr);
    ensure!(
        refused.stderr.contains("`AWS_ACCESS_KEY_ID` of secret `broken` has a line break inside"),
        "{}",
        refused.stderr
    );
    Ok(())
}

#[test]
fn a_database_that_asks_for_a_client_certificate_gets_it() -> Result<()> {
    let world = a_small_world()?;
    let authority = Authority::new()?;
    let server = authority.sign("127.0.0.1", Usage::Server)?;
    let client = authority.sign("lagan", Usage::Client)?;
    let db = MariaDbServer::start_with(&[
        &format!("ssl-ca={}", authority.certificate().display()),
        &format!("ssl-cert={}", server.certificate.display()),
        &format!("ssl-key={}", server.key.display()),
    ])?;
    db.query(&format!(
        "CREATE DATABASE shop; CREATE TABLE shop.t (v INT); INSERT INTO shop.t VALUES (7);
         CREATE USER strict@'127.0.0.1' IDENTIFIED BY '{}' REQUIRE X509; GRANT ALL ON *.* TO strict@'127.0.0.1'",
        db.password()
    ))?;
    let login = [("username", "strict"), ("password", db.password())];
    let pem = |path: &std::path::Path| std::fs::read_to_string(path);
    let certificate = [("tls.crt", pem(&client.certificate)?), ("tls.key", pem(&client.key)?)];
    let certificate = certificate.each_ref().map(|(key, value)| (*key, value.as_str()));
    let binding = |name: &str, more: &str| {
        format!(
            "apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {{name: {name}}}
spec:
  type: mariadb
  clientConfig: {{url: \"mysql://127.0.0.1:{}/\", caBundle: {}}}
  secret: {{name: strict}}
{more}",
            db.port(),
            STANDARD.encode(authority.pem().unwrap())
        )
    };
    let manifests = [
        secret("strict", &login),
        secret("strict-tls", &certificate),
        binding("bare", ""),
        binding("certified", "  tlsSecret: {name: strict-tls}\n"),
    ];
    world.lagan.manifest("strict.yaml", &manifests.join("---\n"))?;
    for name in ["bare", "certified"] {
        let target = "target: {ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: ";
        let yaml = lagan_tests::world::configuration(name, "local", SHOP, "");
        world.lagan.manifest(
            &format!("{name}.yaml"),
            &yaml.replace(&format!("{target}shop}}}}"), &format!("{target}{name}}}}}")),
        )?;
    }
    let _up = world.up(&[])?;
    let refused = world.backup("bare", &[])?;
    ensure!(refused.status.code() == Some(3), "no certificate: {}", refused.stderr);
    world.good_backup("certified")?;
    ensure!(world.snapshots()? == 1);
    world.judge()
}

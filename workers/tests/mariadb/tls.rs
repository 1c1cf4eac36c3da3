//! TLS modes against a server with a certificate for `localhost` and one without TLS.

use std::fs;

use lagan_schemas::plan::TlsMode;
use lagan_workers::mariadb::QueryError;

use crate::{
    server::{TestServer, client, source, target},
    steps::WAIT,
};

async fn connect(server: &TestServer, host: &str, mode: TlsMode, ca: Option<&str>) -> Result<(), QueryError> {
    let mut connection = server.connection();
    connection.host = host.into();
    connection.tls.mode = mode;
    connection.tls.ca_pem = ca.map(|name| fs::read_to_string(source().directory.join(name)).unwrap());
    client(connection).wait_ready(WAIT).await
}

fn refused(result: &Result<(), QueryError>) -> bool {
    matches!(result, Err(QueryError::Refused { failure }) if failure.number == Some(2026))
}

#[tokio::test]
async fn each_mode_accepts_what_it_should_and_nothing_else() {
    use TlsMode::{Disabled, Preferred, Required, VerifyCa, VerifyIdentity};
    for mode in [Disabled, Preferred, Required] {
        connect(source(), "127.0.0.1", mode, None).await.unwrap();
        connect(source(), "127.0.0.1", mode, Some("other.pem")).await.unwrap();
    }
    connect(source(), "127.0.0.1", VerifyCa, Some("ca.pem")).await.unwrap();
    connect(source(), "localhost", VerifyIdentity, Some("ca.pem")).await.unwrap();
    assert!(refused(&connect(source(), "127.0.0.1", VerifyCa, Some("other.pem")).await));
    assert!(refused(&connect(source(), "localhost", VerifyIdentity, Some("other.pem")).await));
    assert!(refused(&connect(source(), "127.0.0.1", VerifyIdentity, Some("ca.pem")).await), "the name is another");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_required() {
    use TlsMode::{Disabled, Preferred, Required, VerifyCa, VerifyIdentity};
    for mode in [Disabled, Preferred] {
        connect(target(), "127.0.0.1", mode, None).await.unwrap();
    }
    let plain = connect(target(), "127.0.0.1", Required, None).await;
    assert!(matches!(plain, Err(QueryError::NotEncrypted { mode: Required })), "{plain:?}");
    let plain = connect(target(), "127.0.0.1", VerifyCa, Some("ca.pem")).await;
    assert!(matches!(plain, Err(QueryError::NotEncrypted { mode: VerifyCa })), "{plain:?}");
    assert!(refused(&connect(target(), "localhost", VerifyIdentity, Some("ca.pem")).await));
}

//! The places of repositories and the addresses of databases.

use super::*;

#[test]
fn a_name_that_only_looks_like_a_link_local_address_is_an_endpoint() {
    accepted(&[
        (REPOSITORY, "endpoint:", "endpoint: http://x169.254.example.com/"),
        // A worker refuses the address itself, unless its administrator allows it.
        (REPOSITORY, "endpoint:", "endpoint: http://169.254.1.1:9000"),
    ]);
}

#[test]
fn a_place_that_can_not_be_a_repository_is_refused() {
    let (s3, local) = (REPOSITORY, LOCAL);
    let endpoint = "s3.endpoint: ";
    refused(&[
        (s3, "endpoint:", "endpoint: file:///etc", endpoint),
        (
            s3,
            "endpoint:",
            "endpoint: https://user:secret@s3.example.org",
            "s3.endpoint: must not hold user and password; they belong into the Secret",
        ),
        (s3, "endpoint:", "endpoint: https://s3.example.org/path", endpoint),
        (s3, "endpoint:", "endpoint: s3.example.org:0", endpoint),
        (s3, "endpoint:", "endpoint: s3.example.org:99999", endpoint),
        (s3, "endpoint:", "endpoint: https://s3.еxample.org", endpoint),
        (s3, "endpoint:", "endpoint: http://fe80::1:9000", endpoint),
        (s3, "endpoint:", "endpoint: 's3.example.org '", endpoint),
        (s3, "endpoint:", "endpoint: ''", endpoint),
        (s3, "bucket:", "bucket: My_Bucket", "s3.bucket: 3 to 63 lower-case letters, digits, `.` and `-`"),
        (s3, "bucket:", "bucket: ''", "s3.bucket: "),
        (s3, "bucket:", "bucket: a/b", "s3.bucket: "),
        (s3, "prefix:", "prefix: ../x", "s3.prefix: must not hold `..`, `//` or a backslash"),
        (s3, "prefix:", "prefix: a//b", "s3.prefix: must not hold"),
        (s3, "prefix:", "prefix: a\\b", "s3.prefix: must not hold"),
        (s3, "prefix:", "prefix: \"a\\0b\"", "s3.prefix: must not hold"),
        (s3, "prefix:", "prefix: 'a '", "s3.prefix: must not hold"),
        (
            s3,
            "storageSecretName:",
            "storageSecretName: ''",
            "backend.storageSecretName: name the Secret that holds RESTIC_PASSWORD",
        ),
        (
            s3,
            "storageSecretName:",
            "local: {mountPath: /a}\nstorageSecretName: s",
            "backend: name one place, not several",
        ),
        (s3, "s3:", "local:", "f.yaml:"),
        (s3, "s3:", "s4:", "f.yaml:9:5: unknown field `s4`; did you mean `s3`?"),
        (local, "mountPath:", "mountPath: safe/data", "local.mountPath: must be an absolute path without `..`"),
        (local, "mountPath:", "mountPath: /a/../b", "local.mountPath: must be an absolute path without `..`"),
        (local, "mountPath:", "mountPath: /stash/x", "local.mountPath: must not be /stash or below"),
        (local, "mountPath:", "", "f.yaml:12:7: field `mountPath` is missing"),
        (local, "subPath:", "subPath: /abs", "local.subPath: must be relative and without `..`"),
        (local, "subPath:", "subPath: ../up", "local.subPath: must be relative and without `..`"),
        (local, "path:", "path: srv", "local.hostPath.path: must be an absolute path without `..`"),
        (local, "storageSecretName:", "storageSecretName: s\nwipeOut: true", "f.yaml:9:5: unknown field `wipeOut`"),
        (
            s3,
            "endpoint:",
            "endpoint: ftp://s3.example.org",
            "s3.endpoint: must be a host, or http:// or https:// and a host",
        ),
        (local, "backend:", "wipeOut: true\nbackend:", "wipeOut: not for a local repository"),
    ]);
    let nowhere = s3.split("    s3:").next().unwrap();
    assert!(one(nowhere).unwrap_err().to_string().ends_with("backend: name where the data lives: `local` or `s3`"));
    let long = changed(s3, "prefix:", &format!("prefix: {}", "a".repeat(1100)));
    assert!(one(&long).unwrap_err().to_string().contains("s3.prefix: "), "{:?}", one(&long));
    accepted(&[
        (s3, "endpoint:", "endpoint: s3.amazonaws.com"),
        (s3, "endpoint:", "endpoint: http://minio.storage.svc:9000/"),
        (s3, "endpoint:", "endpoint: http://[::1]:9000"),
        (s3, "endpoint:", "endpoint: http://127.0.0.1:65535"),
        (s3, "endpoint:", ""),
        // Stash's tutorials write it so.
        (s3, "prefix:", "prefix: /demo/mariadb/sample-mariadb"),
    ]);
}

#[test]
fn an_address_that_can_not_be_a_database_is_refused() {
    let (url, service) = (BINDING, SERVICE);
    let neither = "clientConfig.url is neither `scheme://host:port/` nor `tcp(host:port)/`";
    refused(&[
        (url, "url:", "caBundle: ''", "clientConfig: name a `service` or a `url`"),
        (url, "url:", "url: ''", neither),
        (url, "url:", "url: 'mysql://:3306/'", neither),
        (url, "url:", "url: 'mysql://a b:3306/'", neither),
        (url, "url:", "url: 'mysql://--help:3306/'", neither),
        (url, "url:", "url: 'root:pw@tcp(--help:3306)/'", neither),
        (url, "url:", "url: 'root:pw@tcp(:3306)/'", neither),
        (url, "url:", "url: 'root:pw@unix(/run/mysqld.sock)/'", neither),
        (url, "url:", "url: 'mysql://db:0/'", neither),
        (url, "url:", "url: 'mysql://db:65536/'", neither),
        (url, "url:", "url: 'root:pw@tcp(db:0)/'", neither),
        (url, "url:", "url: 'root:pw@tcp(db:3306 )/'", neither),
        (service, "port:", "port: 65536", "clientConfig.service.port: must be 1 to 65535"),
        (service, "port:", "port: -1", "clientConfig.service.port: must be 1 to 65535"),
        (service, "port:", "port: mysql", "f.yaml:12:13: "),
    ]);
    let nameless = service.replace("      name: db\n", "      name: --help\n");
    assert!(one(&nameless).unwrap_err().to_string().contains("clientConfig.service.name: "), "{:?}", one(&nameless));
    accepted(&[
        (url, "url:", "url: 'root:p@ss@tcp(127.0.0.1:3306)/'"),
        (url, "url:", "url: 'mysql://[::1]:3306/'"),
        (url, "url:", "url: 'mysql://db'"),
        (service, "port:", "port: 0"),
        (service, "port:", ""),
    ]);
}

//! The manifests of Stash's tutorial are read as they are.

use lagan_schemas::manifest::{Manifest, parse};
use lagan_schemas::resource::{Group, Kind};

#[test]
fn manifests_of_stash_parse_unchanged() {
    let all = parse("tutorial.yaml", include_str!("../stash-tutorial.yaml"));
    let kinds: Vec<String> = all
        .iter()
        .map(|manifest| match manifest.as_ref().unwrap() {
            Manifest::Object(object) => {
                assert!(matches!(object.group(), Group::Stash | Group::AppCatalog));
                object.kind().to_string()
            }
            Manifest::Secret(secret) => format!("Secret/{}", secret.metadata.name),
            Manifest::Foreign { kind, .. } => format!("foreign {kind}"),
        })
        .collect();
    let repository = Kind::Repository.as_str();
    let expected = [
        "Secret/gcs-secret",
        "Secret/sample-mariadb-auth",
        repository,
        repository,
        "AppBinding",
        "BackupConfiguration",
        "BackupSession",
        "RestoreSession",
        "Function",
        "Task",
        "foreign MariaDB",
    ];
    assert_eq!(kinds, expected);
}

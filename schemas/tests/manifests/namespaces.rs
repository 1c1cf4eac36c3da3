//! The namespace of an object becomes a part of its subject.

use super::*;

const SECRET: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: db
  namespace: demo
stringData:
  password: x
";

#[test]
fn a_namespace_that_no_cluster_can_have_is_refused_with_its_place() {
    for line in ["team.a", "'a b'", "_", "Demo", "-a", "a-", "'*'", "a_b"].map(|name| format!("namespace: {name}")) {
        for base in [CONFIGURATION, REPOSITORY, LOCAL, BINDING, RESTORE, SESSION, SECRET] {
            let error = one(&format!("\n\n{}", changed(base, "namespace:", &line))).unwrap_err();
            let name = line.trim_start_matches("namespace: ").trim_matches('\'');
            let words =
                format!(": metadata.namespace: `{name}` is not a DNS label (lower-case letters, digits and `-`");
            let told = error.to_string();
            assert!(told.starts_with("f.yaml:3:1: ") && told.contains(&words), "{told}");
            assert_eq!(error.object, None, "no subject can name it");
        }
    }
    let long = |length: usize| one(&changed(REPOSITORY, "namespace:", &format!("namespace: {}", "a".repeat(length))));
    assert!(long(63).is_ok() && long(64).unwrap_err().to_string().contains("metadata.namespace: `aaaa"));
}

#[test]
fn an_empty_namespace_is_no_namespace() {
    for line in ["namespace: ''", "namespace:", "namespace: null", ""] {
        for base in [CONFIGURATION, REPOSITORY, LOCAL, BINDING, RESTORE, SESSION] {
            assert_eq!(object(&changed(base, "namespace:", line)).metadata.namespace, None, "{line}\n{base}");
        }
        let Manifest::Secret(secret) = one(&changed(SECRET, "namespace:", line)).unwrap() else {
            unreachable!("a Secret")
        };
        assert_eq!(secret.metadata.namespace, None, "{line}");
        // A refused document is published under the namespace that a folder gives to objects without one.
        let broken = changed(REPOSITORY, "namespace:", line).replace("backend:", "backnd:");
        let key = one(&broken).unwrap_err().object.expect("an object").key;
        assert_eq!((key.namespace, key.name.as_str()), (None, "repo"), "{line}");
    }
    assert_eq!(object(REPOSITORY).metadata.namespace.as_deref(), Some("demo"));
    // These have none in a cluster either.
    for base in [TASK, FUNCTION] {
        object(&changed(base, "name: dump", "name: dump\nnamespace: team.a"));
    }
}

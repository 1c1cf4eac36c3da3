//! Manifests as kubectl, helm and kustomize print them.

use lagan_schemas::manifest::{Manifest, ManifestError, parse};
use lagan_schemas::resource::{Object, Spec};

use crate::bases::{CONFIGURATION, REPOSITORY};

/// `kubectl get -o yaml` of several objects, shortened.
const LIST: &str = "\
apiVersion: v1
items:
- apiVersion: lagan.dev/v1alpha1
  kind: BackupConfiguration
  metadata:
    annotations:
      kubectl.kubernetes.io/last-applied-configuration: |
        {\"apiVersion\":\"lagan.dev/v1alpha1\",\"kind\":\"BackupConfiguration\"}
    creationTimestamp: \"2026-11-23T00:45:02Z\"
    generation: 3
    managedFields:
    - apiVersion: lagan.dev/v1alpha1
      fieldsType: FieldsV1
      fieldsV1:
        f:spec: {}
      manager: kubectl
      operation: Apply
    name: shop
    namespace: demo
    resourceVersion: \"12345\"
    selfLink: /apis/lagan.dev/v1alpha1/namespaces/demo/backupconfigurations/shop
    uid: 2c993d0a-368c-402b-ac53-298fbb6219c9
  spec:
    schedule: 0 2 * * *
    repository:
      name: repo
    target:
      ref:
        apiVersion: appcatalog.appscode.com/v1alpha1
        kind: AppBinding
        name: db
    retentionPolicy:
      name: few
      keepLast: 5
  status:
    observedGeneration: 3
    phase: Ready
- apiVersion: lagan.dev/v1alpha1
  kind: Repository
  metadata:
    creationTimestamp: null
    name: repo
    namespace: demo
  spec:
    backend:
      s4:
        bucket: backups
- apiVersion: v1
  kind: ConfigMap
  metadata:
    name: other
  data: null
- apiVersion: v1
  kind: Secret
  metadata:
    name: storage
  data:
    RESTIC_PASSWORD: cA==
kind: List
metadata:
  resourceVersion: \"\"
";

fn objects(text: &str) -> Vec<Object> {
    let object = |manifest: Result<Manifest, ManifestError>| match manifest {
        Ok(Manifest::Object(object)) => *object,
        other => unreachable!("an object: {other:?}\n{text}"),
    };
    parse("f.yaml", text).into_iter().map(object).collect()
}

fn indented(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{}{line}\n", " ".repeat(by))).collect()
}

#[test]
fn the_items_of_a_list_are_objects_of_their_own() {
    let all = parse("f.yaml", LIST);
    assert_eq!(all.len(), 4, "{all:?}");
    let Ok(Manifest::Object(shop)) = &all[0] else { unreachable!("{:?}", all[0]) };
    assert_eq!((shop.metadata.name.as_str(), shop.metadata.generation), ("shop", 3));
    assert_eq!(shop.metadata.uid.unwrap().to_string(), "2c993d0a-368c-402b-ac53-298fbb6219c9");
    let error = all[1].as_ref().unwrap_err();
    assert_eq!(error.to_string(), "f.yaml:46:7: unknown field `s4`; did you mean `s3`?");
    assert!(matches!(&all[2], Ok(Manifest::Foreign { kind, .. }) if kind == "ConfigMap"), "{:?}", all[2]);
    let Ok(Manifest::Secret(secret)) = &all[3] else { unreachable!("{:?}", all[3]) };
    assert_eq!(secret.text("RESTIC_PASSWORD").unwrap(), "p");
}

#[test]
fn a_list_of_one_kind_may_leave_its_items_types_out() {
    let untyped: String = CONFIGURATION.lines().skip(2).map(|line| format!("{line}\n")).collect();
    for item in [CONFIGURATION, &untyped] {
        let item = indented(item, 4).replacen("    ", "  - ", 1);
        let text =
            format!("kind: BackupConfigurationList\napiVersion: lagan.dev/v1alpha1\nmetadata: {{}}\nitems:\n{item}");
        assert_eq!(objects(&text)[0].metadata.name, "shop");
    }
    let pods = "apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: a}\n";
    assert!(matches!(&parse("f", pods)[..], [Ok(Manifest::Foreign { kind, .. })] if kind == "Pod"));
    let none = "apiVersion: v1\nkind: List\nitems: []\n---\napiVersion: v1\nkind: List\nitems:\n";
    assert!(parse("f", none).is_empty());
}

#[test]
fn a_list_may_be_json_and_hold_lists() {
    let object = |text: &str| serde_json::to_string_pretty(&objects(text)[0].to_json()).unwrap();
    let (shop, repo) = (object(CONFIGURATION), object(REPOSITORY));
    let inner = format!("{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{repo}]}}");
    let text = format!("{{\n\"apiVersion\": \"v1\",\n\"items\": [\n{shop},\n{inner}\n],\n\"kind\": \"List\"\n}}\n");
    let found = objects(&text);
    assert_eq!(found.iter().map(|o| o.metadata.name.as_str()).collect::<Vec<_>>(), ["shop", "repo"]);
    let wrong = text.replace("\"bucket\"", "\"buckett\"");
    let error = parse("f.json", &wrong).remove(1).unwrap_err();
    let line = wrong.lines().position(|line| line.contains("buckett")).unwrap() + 1;
    assert!(error.to_string().starts_with(&format!("f.json:{line}:")), "{error}");
    assert!(error.message.contains("unknown field `buckett`"), "{error}");
}

#[test]
fn a_long_list_is_read_whole() {
    let one = indented(CONFIGURATION, 2).replacen("  ", "- ", 1);
    let items: String = (0..300).map(|i| one.replace("name: shop", &format!("name: shop-{i}"))).collect();
    assert_eq!(objects(&format!("apiVersion: v1\nkind: List\nitems:\n{items}")).len(), 300);
}

#[test]
fn what_helm_and_kustomize_print_is_read() {
    let helm = format!(
        "---\n# Source: shop/templates/empty.yaml\n---\n\n--- # Source: shop/templates/backup.yaml\n{CONFIGURATION}\n---\n---\n# a comment\n{REPOSITORY}...\n%YAML 1.2\n--- \n"
    );
    assert_eq!(objects(&helm).len(), 2);
    assert_eq!(parse("f", &helm.replace("keepLast: 5", "keeplast: 5"))[0].as_ref().unwrap_err().line, 25);
    let after_marker = "--- {apiVersion: v1, kind: ConfigMap, metadata: {name: x}}\n";
    assert!(matches!(&parse("f", after_marker)[..], [Ok(Manifest::Foreign { .. })]));
    assert_eq!(objects(&format!("\u{feff}{CONFIGURATION}").replace('\n', "\r\n")).len(), 1);
    let anchored =
        CONFIGURATION.replace("  name: shop\n", "  name: &name shop\n").replace("      name: db", "      name: *name");
    let Spec::BackupConfiguration(spec) = &objects(&anchored)[0].spec else { unreachable!("{anchored}") };
    assert_eq!(spec.target.as_ref().unwrap().reference.as_ref().unwrap().name, "shop");
    let merged = CONFIGURATION.replace("  retentionPolicy:\n", "  retentionPolicy:\n    <<: &few {keepDaily: 7}\n");
    let Spec::BackupConfiguration(spec) = &objects(&merged)[0].spec else { unreachable!("{merged}") };
    assert_eq!(spec.retention_policy.keep_daily, Some(7));
}

#[test]
fn null_is_the_same_as_absence_wherever_there_is_a_default() {
    let plain = &objects(CONFIGURATION)[0];
    let text = CONFIGURATION
        .replace("spec:\n", "spec:\n  paused: null\n  hooks:\n  runtimeSettings: ~\n  retryConfig: {maxRetry: null}\n")
        .replace("  target:\n", "  target:\n    args:\n    paths: null\n    alias:\n")
        .replace("    keepLast: 5\n", "    keepLast: 5\n    prune:\n    dryRun: null\n")
        .replace("  namespace: demo\n", "  namespace: demo\n  labels:\n  annotations: null\n  finalizers: ~\n  creationTimestamp: null\n  generation: null\n");
    let found = &objects(&format!("{text}status: null\n"))[0];
    assert_eq!(found.metadata, plain.metadata);
    let (Spec::BackupConfiguration(found), Spec::BackupConfiguration(plain)) = (&found.spec, &plain.spec) else {
        unreachable!("{text}")
    };
    assert_eq!(found.retry_config.as_ref().unwrap().max_retry, 1);
    let mut found = found.clone();
    found.retry_config = None;
    assert_eq!(&found, plain);
}

#[test]
fn an_empty_namespace_in_a_reference_is_none() {
    let plain = &objects(CONFIGURATION)[0];
    let text = CONFIGURATION
        .replace("    name: repo\n", "    name: repo\n    namespace: \"\"\n")
        .replace("      name: db\n", "      name: db\n      namespace: \"\"\n");
    assert_eq!(text.matches("namespace: \"\"").count(), 2, "{text}");
    assert_eq!(&objects(&text)[0].spec, &plain.spec);
    let binding = "apiVersion: appcatalog.appscode.com/v1alpha1\nkind: AppBinding\nmetadata: {name: db, namespace: demo}\n\
        spec: {type: mariadb, secret: {name: db}, clientConfig: {service: {name: db, port: 3306, namespace: ''}}}\n";
    let Spec::AppBinding(spec) = &objects(binding)[0].spec else { unreachable!("{binding}") };
    assert_eq!(spec.client_config.service.as_ref().unwrap().namespace, None);
}

#[test]
fn the_address_of_another_kind_of_database_is_not_judged() {
    let read = |of: &str| {
        let text = format!(
            "apiVersion: appcatalog.appscode.com/v1alpha1\nkind: AppBinding\nmetadata: {{name: db, namespace: demo}}\nspec:\n  \
             type: {of}\n  clientConfig: {{url: 'mongodb://a:27017,b:27017/?replicaSet=x'}}\n"
        );
        parse("f", &text).remove(0)
    };
    assert!(read("kubedb.com/mongodb").is_ok());
    assert!(read("kubedb.com/mariadb").is_err());
}

//! What people write: Stash's manifests parse unchanged, and what is wrong is refused with a message that says
//! where it is and what would be right.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "manifests/bases.rs"]
mod bases;
#[path = "manifests/damaged.rs"]
mod damaged;
#[path = "manifests/printed.rs"]
mod printed;
#[path = "manifests/stash.rs"]
mod stash;

use std::fmt::Write as _;

use bases::{BINDING, CONFIGURATION, FUNCTION, LOCAL, REPOSITORY, RESTORE, SERVICE, SESSION, TASK};
use lagan_schemas::manifest::{Manifest, ManifestError, parse, update_problems};
use lagan_schemas::resource::Object;

/// `base` with the line that starts with `key` replaced by `lines`, at the same indentation.
fn changed(base: &str, key: &str, lines: &str) -> String {
    let mut text = String::new();
    let mut hits = 0;
    for line in base.lines() {
        if line.trim_start().starts_with(key) {
            hits += 1;
            let indent = &line[..line.len() - line.trim_start().len()];
            for new in lines.lines() {
                writeln!(text, "{indent}{new}").unwrap();
            }
        } else {
            writeln!(text, "{line}").unwrap();
        }
    }
    assert_eq!(hits, 1, "`{key}` names one line of\n{base}");
    text
}

fn one(text: &str) -> Result<Manifest, ManifestError> {
    let mut all = parse("f.yaml", text);
    assert_eq!(all.len(), 1, "one document: {text}");
    all.remove(0)
}

fn object(text: &str) -> Object {
    match one(text) {
        Ok(Manifest::Object(object)) => *object,
        other => unreachable!("an object: {other:?}"),
    }
}

/// Base, line, its replacement, and what the error must say.
type Row = (&'static str, &'static str, &'static str, &'static str);

#[track_caller]
fn refused(rows: &[Row]) {
    let mut wrong = String::new();
    for (base, key, lines, expected) in rows {
        match one(&changed(base, key, lines)) {
            Err(error) if error.to_string().contains(expected) => {}
            Err(error) => writeln!(wrong, "{lines}\n  expected {expected}\n  but got  {error}").unwrap(),
            Ok(_) => writeln!(wrong, "{lines}\n  expected {expected}\n  but it is accepted").unwrap(),
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[track_caller]
fn accepted(rows: &[(&str, &str, &str)]) {
    for (base, key, lines) in rows {
        let result = one(&changed(base, key, lines));
        assert!(result.is_ok(), "{lines}: {}", result.unwrap_err());
    }
}

#[test]
fn every_base_is_valid() {
    for base in [CONFIGURATION, REPOSITORY, LOCAL, BINDING, SERVICE, RESTORE, SESSION, TASK, FUNCTION] {
        object(base);
    }
}

#[test]
fn a_bad_schedule_is_refused_with_its_field() {
    let c = CONFIGURATION;
    refused(&[
        (
            c,
            "schedule:",
            "schedule: ''",
            "f.yaml:1:1: BackupConfiguration `shop`: schedule: must not be empty (example \"0 2 * * *\")",
        ),
        (c, "schedule:", "schedule: 61 * * * *", "schedule: field 1 (minute) `61` is not valid; 0-59"),
        (c, "schedule:", "schedule: 0 24 * * *", "schedule: field 2 (hour) `24` is not valid; 0-23"),
        (c, "schedule:", "schedule: '* * * *'", "schedule: expected 5 fields, got 4"),
        (
            c,
            "schedule:",
            "schedule: '* * * * * *'",
            "schedule: 6 fields: seconds are not supported; the shortest interval is a minute",
        ),
        (c, "schedule:", "schedule: 0 0 30 2 *", "schedule: `0 0 30 2 *` never matches"),
        (
            c,
            "schedule:",
            "schedule: '@reboot'",
            "schedule: `@reboot` is not supported; use @yearly, @monthly, @weekly, @daily, @hourly, or @every with a duration",
        ),
        (c, "schedule:", "schedule: '*/0 * * * *'", "schedule: field 1 (minute) `*/0` is not valid"),
        (c, "schedule:", "schedule: 5", "schedule: expected 5 fields, got 1"),
        (
            c,
            "timeZone:",
            "timeZone: Mars/Phobos",
            "timeZone: unknown time zone `Mars/Phobos`; use an IANA name such as Europe/Berlin",
        ),
        (c, "timeZone:", "timeZone: CEST", "timeZone: unknown time zone `CEST`"),
        (c, "timeZone:", "timeZone: UTC+2", "timeZone: unknown time zone `UTC+2`"),
        (c, "timeZone:", "timeZone: ''", "timeZone: unknown time zone ``"),
        (
            c,
            "schedule:",
            "schedule: CRON_TZ=Asia/Tokyo 0 3 * * *",
            "timeZone: `Europe/Berlin` contradicts `TZ=Asia/Tokyo` in schedule; name one time zone",
        ),
    ]);
    accepted(&[
        (c, "schedule:", "schedule: '@daily'"),
        (c, "schedule:", "schedule: '*/5 * * * MON-FRI'"),
        (c, "schedule:", "schedule: '@midnight'"),
        (c, "schedule:", "schedule: '@every 1h30m'"),
        (c, "schedule:", "schedule: TZ=Europe/Berlin 0 3 * * *"),
    ]);
}

#[test]
fn a_bad_setting_beside_the_schedule_is_refused() {
    let c = CONFIGURATION;
    refused(&[
        (c, "startingDeadlineSeconds:", "startingDeadlineSeconds: -1", "startingDeadlineSeconds: must be 0 to 604800"),
        (
            c,
            "startingDeadlineSeconds:",
            "startingDeadlineSeconds: 1000000000000",
            "startingDeadlineSeconds: must be 0 to 604800",
        ),
        (c, "startingDeadlineSeconds:", "startingDeadlineSeconds: ten", "f.yaml:9:28: "),
        (
            c,
            "concurrencyPolicy:",
            "concurrencyPolicy: forbid",
            "f.yaml:10:22: unknown value `forbid`; did you mean `Forbid`?",
        ),
        (c, "concurrencyPolicy:", "jitter: 5 parsecs", "f.yaml:10:11: "),
        (c, "concurrencyPolicy:", "backupHistoryLimit: -1", "backupHistoryLimit: can't be negative"),
        (c, "concurrencyPolicy:", "retryConfig: {maxRetry: -1}", "retryConfig: maxRetry and delay can't be negative"),
        (c, "concurrencyPolicy:", "retryConfig: {delay: -1s}", "retryConfig: maxRetry and delay can't be negative"),
        (c, "concurrencyPolicy:", "timeOut: -5m", "timeOut: can't be negative"),
        (c, "concurrencyPolicy:", "jitter: -5m", "jitter: can't be negative"),
    ]);
    let targetless = c.replace("  target:\n    ref:\n", "  runtimeSettings:\n    pod:\n");
    assert!(one(&targetless).unwrap_err().to_string().ends_with("target.ref: name the AppBinding to back up"));
    accepted(&[(c, "concurrencyPolicy:", "jitter: 5m\ntimeOut: 1h30m\nretryConfig: {delay: 10s}")]);
}

#[test]
fn a_retention_that_would_keep_nothing_is_refused() {
    let c = CONFIGURATION;
    refused(&[
        (c, "keepLast:", "keepLast: 0", "retentionPolicy: at least one keep rule"),
        (c, "keepLast:", "", "retentionPolicy: at least one keep rule"),
        (c, "keepLast:", "prune: true", "retentionPolicy: at least one keep rule"),
        (c, "keepLast:", "keepLast: -1", "retentionPolicy: keep rules can't be negative"),
        (c, "keepLast:", "keepLast: 3\nkeepDaily: -1", "retentionPolicy: keep rules can't be negative"),
        (c, "keepLast:", "keepTags: []", "retentionPolicy: at least one keep rule"),
        (c, "keepLast:", "keepWithin: 5 parsecs", "f.yaml:20:5: unknown field `keepWithin`"),
        (c, "keepLast:", "keeplast: 5", "f.yaml:20:5: unknown field `keeplast`; did you mean `keepLast`?"),
    ]);
    refused(&[
        (
            c,
            "keepLast:",
            "keepTags: [gold]",
            "retentionPolicy: `keepTags` alone would forget every backup but the newest",
        ),
        (c, "keepLast:", "keepTags: [gold]\nkeepLast: 0", "add another keep rule, such as `keepLast`"),
    ]);
    accepted(&[(c, "keepLast:", "keepLast: 1\nkeepTags: [gold]"), (c, "keepLast:", "keepLast: 0\nkeepYearly: 1")]);
    // Stash's group accepts everything that Stash accepts; the session warns.
    let of_stash = c.replace("lagan.dev/v1alpha1", "stash.appscode.com/v1beta1");
    accepted(&[(&of_stash, "keepLast:", "keepTags: [gold]")]);
}

#[test]
fn a_place_that_can_not_be_a_repository_is_refused() {
    let (s3, local) = (REPOSITORY, LOCAL);
    let endpoint = "s3.endpoint: ";
    refused(&[
        (s3, "endpoint:", "endpoint: http://169.254.169.254/", "s3.endpoint: must not be a link-local address"),
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

#[test]
fn a_restore_that_is_ambiguous_is_refused() {
    refused(&[
        (
            RESTORE,
            "- snapshots:",
            "- snapshots: [latest]\n- snapshots: [abc]",
            "target.rules: at most one rule without targetHosts",
        ),
        (
            RESTORE,
            "- snapshots:",
            "- snapshots: [a, b]",
            "target.rules[].snapshots: has no effect: a database is restored from one snapshot",
        ),
        (
            RESTORE,
            "repository:",
            "rules: [{snapshots: [a, b]}]\nrepository:",
            "rules[].snapshots: has no effect: a database is restored from one snapshot",
        ),
        (RESTORE, "repository:", "rules: [{}, {}]\nrepository:", "rules: at most one rule without targetHosts"),
        (
            RESTORE,
            "- snapshots:",
            "- {targetHosts: [a]}\n- {targetHosts: [b, a]}",
            "target.rules: a host may occur in one rule only",
        ),
        (
            RESTORE,
            "- snapshots:",
            "- snapshot: latest",
            "f.yaml:15:7: unknown field `snapshot`; did you mean `snapshots`?",
        ),
        (RESTORE, "repository:", "timeOut: -1m\nrepository:", "timeOut: can't be negative"),
        (
            RESTORE,
            "repository:",
            "databases: [a, b]\nas: c\nrepository:",
            "as: one database can get another name; name exactly one in databases, or leave as out",
        ),
        (
            RESTORE,
            "repository:",
            "databases: [a, b, a]\nrepository:",
            "databases: a name is there twice; name each database once",
        ),
        (RESTORE, "repository:", "verify: rows\nrepository:", "unknown value `rows`; did you mean `Rows`?"),
    ]);
    let targetless = RESTORE.split("  target:").next().unwrap();
    assert!(one(targetless).unwrap_err().to_string().ends_with("target.ref: name the AppBinding to restore into"));
    let (old, new) = (object(RESTORE), object(&changed(RESTORE, "- snapshots:", "- snapshots: [abc]")));
    assert_eq!(update_problems(&old, &old), Vec::<String>::new());
    assert_eq!(update_problems(&old, &new), ["spec: a session can't be changed; create a new one"]);
    accepted(&[(RESTORE, "- snapshots:", "- {targetHosts: [a], snapshots: [abc]}\n- {snapshots: [latest]}")]);
}

#[test]
fn other_kinds_have_rules_too() {
    refused(&[
        (TASK, "steps:", "steps: []\nvolumes:", "steps: name at least one Function"),
        (FUNCTION, "stdout:", "stdout: a\nstdin: b", "stream: name either `stdout` or `stdin`"),
        (FUNCTION, "stdout:", "{}", "stream: name either `stdout` or `stdin`"),
    ]);
    let batch = SESSION.replace("kind: BackupConfiguration", "kind: BackupBatch");
    assert!(one(&batch).unwrap_err().to_string().contains("invoker.kind: must be BackupConfiguration"));
    let (old, new) = (object(SESSION), object(&SESSION.replace("    name: shop\n", "    name: other\n")));
    assert_eq!(update_problems(&old, &old), Vec::<String>::new());
    assert_eq!(update_problems(&old, &new), ["spec: a session can't be changed; create a new one"]);
}

#[test]
fn documents_that_are_not_what_they_say_are_refused_where_they_are() {
    let c = CONFIGURATION;
    refused(&[
        (c, "timeZone:", "timezone: UTC", "f.yaml:8:3: unknown field `timezone`; did you mean `timeZone`?"),
        (c, "timeZone:", "frobnicate: 1", "f.yaml:8:3: unknown field `frobnicate`; known are "),
        (c, "timeZone:", "timeZone: [UTC]", "f.yaml:8:13: "),
        (c, "timeZone:", "schedule: 0 3 * * *", "f.yaml:8:3: "),
        (c, "keepLast:", "keepTags: null", "retentionPolicy: at least one keep rule"),
        (
            c,
            "apiVersion: lagan",
            "apiVersion: lagan.dev/v1",
            "BackupConfiguration has apiVersion `lagan.dev/v1`; Lagan reads lagan.dev/v1alpha1 and stash.appscode.com/v1beta1",
        ),
        (c, "apiVersion: lagan", "", "not a Kubernetes object: `apiVersion` and `kind` are missing"),
        (c, "kind: BackupC", "kind: BackupConfig", "unknown kind `BackupConfig`"),
        (c, "spec:", "specs:", "f.yaml:6:1: unknown field `specs`; did you mean `spec`?"),
        (c, "kind: BackupC", "kind: BackupConfiguration\nextra: 1", "f.yaml:3:1: unknown field `extra`"),
        (c, "name: shop", "name: ''", "BackupConfiguration: metadata.name: "),
        (c, "name: shop", "name: a b", "BackupConfiguration: metadata.name: `a b`"),
    ]);
    let second = format!("{CONFIGURATION}---\n# the second\n{}", changed(REPOSITORY, "bucket:", "buckett: x"));
    let all = parse("two.yaml", &second);
    assert!(all[0].is_ok() && all.len() == 2);
    let error = all[1].as_ref().unwrap_err();
    assert_eq!((error.line, error.column), (33, 7), "{error}");
    assert!(error.snippet.as_ref().unwrap().contains("buckett: x"), "{error:?}");
    let deployment = one("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replicas: 1}\n").unwrap();
    assert!(matches!(deployment, Manifest::Foreign { kind, .. } if kind == "Deployment"));
}

#[test]
fn names_and_sizes_of_kubernetes_are_taken() {
    let longest = "a".repeat(253);
    for name in ["a.b.c", &longest, "123", "xn--bcher-kva"] {
        let text = CONFIGURATION.replace("name: shop", &format!("name: '{name}'"));
        assert_eq!(object(&text).metadata.name, name);
    }
    let too_long = CONFIGURATION.replace("name: shop", &format!("name: {}", "a".repeat(254)));
    assert!(one(&too_long).unwrap_err().to_string().contains("metadata.name: "));
    let labels: String = (0..10_000).map(|i| format!("    l{i}: v\n")).collect();
    let many = CONFIGURATION.replace("  namespace: demo\n", &format!("  namespace: demo\n  labels:\n{labels}"));
    assert_eq!(object(&many).metadata.labels.len(), 10_000);
    let big = |size: usize| {
        CONFIGURATION
            .replace("  namespace: demo\n", &format!("  namespace: demo\n  annotations: {{a: {}}}\n", "x".repeat(size)))
    };
    assert!(one(&big(1_400_000)).is_ok());
    assert!(one(&big(1_600_000)).unwrap_err().to_string().contains("is larger than 1500000"));
}

#[test]
fn a_field_without_effect_is_refused_in_our_group_and_accepted_in_that_of_stash() {
    let rows: &[Row] = &[
        (
            CONFIGURATION,
            "schedule:",
            "schedule: '@daily'\nruntimeSettings: {pod: {}}",
            "runtimeSettings: has no effect: ",
        ),
        (CONFIGURATION, "schedule:", "schedule: '@daily'\ntempDir: {}", "tempDir: has no effect: "),
        (CONFIGURATION, "ref:", "paths: [/a]\nref:", "target.paths: has no effect: "),
        (CONFIGURATION, "ref:", "args: [x]\nref:", "target.args: has no effect: "),
        (CONFIGURATION, "keepLast:", "keepLast: 5\nprune: true", "retentionPolicy.prune: has no effect: "),
        (
            CONFIGURATION,
            "apiVersion: appcatalog",
            "apiVersion: apps/v1",
            "target.ref.apiVersion: has no effect: an AppBinding is read from group appcatalog.appscode.com only; remove it",
        ),
        (RESTORE, "- snapshots:", "- {snapshots: [a, b]}", "target.rules[].snapshots: has no effect: "),
        (RESTORE, "- snapshots:", "- {include: [x]}", "target.rules[].include: has no effect: "),
        (LOCAL, "mountPath:", "mountPath: /a\nnfs: {server: s, path: /p}", "backend.local.nfs: has no effect: "),
        (LOCAL, "path:", "path: /a\ntype: Directory", "backend.local.hostPath.type: has no effect: "),
        (FUNCTION, "database:", "database: MariaDB\nimage: x", "image: has no effect: "),
        (TASK, "steps:", "volumes: [{name: x}]\nsteps:", "volumes: has no effect: "),
        (SESSION, "apiGroup:", "apiGroup: stash.appscode.com", "invoker.apiGroup: has no effect: "),
    ];
    refused(rows);
    for (base, key, lines, _) in rows {
        let stash = changed(base, key, lines)
            .replace("apiVersion: lagan.dev/v1alpha1", "apiVersion: stash.appscode.com/v1beta1");
        let stash = stash.replace("v1beta1\nkind: Repository", "v1alpha1\nkind: Repository");
        let stash = stash.replace("apiGroup: stash.appscode.com", "apiGroup: lagan.dev");
        assert!(!object(&stash).ignored_fields.is_empty(), "{stash}");
    }
    accepted(&[
        (CONFIGURATION, "schedule:", "schedule: '@daily'\ntempDir: null"),
        (CONFIGURATION, "keepLast:", "keepLast: 5\nprune: false"),
        (CONFIGURATION, "ref:", "paths: []\nref:"),
        (RESTORE, "- snapshots:", "- {snapshots: [a], include: []}"),
    ]);
}

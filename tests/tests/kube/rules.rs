//! Invalid objects are refused in the words of folder mode: by the API server where CEL can express the rule, else by a
//! condition.

use std::fmt::Write as _;

use anyhow::Result;
use lagan_schemas::manifest::parse;
use lagan_tests::kube_world::KubeWorld;
use lagan_tests::wait::eventually;
use lagan_tests::world::PATIENCE;

const CONFIGURATION: &str = "\
apiVersion: lagan.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: bad}
spec:
  schedule: '0 2 * * *'
  timeZone: Europe/Berlin
  jitter: 1m
  repository: {name: repo}
  target:
    ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: shop}
  retentionPolicy:
    keepLast: 5
";

const S3: &str = "\
apiVersion: lagan.dev/v1alpha1
kind: Repository
metadata: {name: bad}
spec:
  backend:
    storageSecretName: storage
    s3:
      endpoint: https://s3.example.org:9000
      bucket: backups
      prefix: demo/shop
";

const LOCAL: &str = "\
apiVersion: lagan.dev/v1alpha1
kind: Repository
metadata: {name: bad}
spec:
  wipeOut: false
  backend:
    storageSecretName: storage
    local:
      mountPath: /safe/data
      subPath: shop
";

const RESTORE: &str = "\
apiVersion: lagan.dev/v1alpha1
kind: RestoreSession
metadata: {name: bad}
spec:
  repository: {name: repo}
  timeOut: 5m
  target:
    ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: shop}
    rules:
    - snapshots: [latest]
";

const SESSION: &str = "\
apiVersion: lagan.dev/v1alpha1
kind: BackupSession
metadata: {name: bad}
spec:
  invoker: {kind: BackupConfiguration, name: shop}
";

const FUNCTION: &str = "\
apiVersion: lagan.dev/v1alpha1
kind: Function
metadata: {name: bad}
spec:
  database: MariaDB
  stream: {stdout: dumpfile.sql}
";

/// The place where a cluster reports a violation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    Api,
    Condition,
}

/// Base, the line to replace, its replacement, the place of the refusal, and the words of folder mode.
type Row = (&'static str, &'static str, &'static str, By, &'static str);

const ROWS: &[Row] = &[
    (CONFIGURATION, "schedule:", "schedule: ''", By::Api, "schedule: must not be empty"),
    (CONFIGURATION, "schedule:", "schedule: 61 * * * *", By::Condition, "schedule: field 1 (minute) `61` is not valid"),
    (CONFIGURATION, "schedule:", "schedule: 0 24 * * *", By::Condition, "schedule: field 2 (hour) `24` is not valid"),
    (CONFIGURATION, "schedule:", "schedule: '* * * *'", By::Condition, "schedule: expected 5 fields, got 4"),
    (
        CONFIGURATION,
        "schedule:",
        "schedule: '* * * * * *'",
        By::Condition,
        "schedule: 6 fields: seconds are not supported",
    ),
    (CONFIGURATION, "schedule:", "schedule: 0 0 30 2 *", By::Condition, "schedule: `0 0 30 2 *` never matches"),
    (CONFIGURATION, "schedule:", "schedule: '@reboot'", By::Condition, "schedule: `@reboot` is not supported"),
    (CONFIGURATION, "timeZone:", "timeZone: Mars/Phobos", By::Condition, "timeZone: unknown time zone `Mars/Phobos`"),
    (CONFIGURATION, "timeZone:", "timeZone: CEST", By::Condition, "timeZone: unknown time zone `CEST`"),
    (CONFIGURATION, "jitter:", "jitter: -5m", By::Api, "jitter: can't be negative"),
    (CONFIGURATION, "jitter:", "timeOut: -5m", By::Api, "timeOut: can't be negative"),
    (CONFIGURATION, "jitter:", "startingDeadlineSeconds: -1", By::Api, "startingDeadlineSeconds: must be 0 to 604800"),
    (
        CONFIGURATION,
        "jitter:",
        "startingDeadlineSeconds: 604801",
        By::Api,
        "startingDeadlineSeconds: must be 0 to 604800",
    ),
    (CONFIGURATION, "jitter:", "backupHistoryLimit: -1", By::Api, "backupHistoryLimit: can't be negative"),
    (CONFIGURATION, "jitter:", "retryConfig: {maxRetry: -1}", By::Api, "retryConfig.maxRetry: must be 0 to 100"),
    (
        CONFIGURATION,
        "jitter:",
        "retryConfig: {delay: 1d}",
        By::Api,
        "retryConfig.delay: must be a duration such as 1h30m",
    ),
    (CONFIGURATION, "jitter:", "timeOut: 1h-5m", By::Api, "timeOut: must be a duration such as 1h30m"),
    (CONFIGURATION, "jitter:", "timeOut: ''", By::Api, "timeOut: must be a duration such as 1h30m"),
    (CONFIGURATION, "jitter:", "timeOut: 99999999999999999999h", By::Api, "timeOut: must be a duration such as 1h30m"),
    (CONFIGURATION, "jitter:", "jitter: 25h", By::Api, "jitter: must be a duration such as 1h30m"),
    (
        CONFIGURATION,
        "schedule:",
        "schedule: '@every 1h-5m'",
        By::Condition,
        "schedule: `@every 1h-5m` needs a duration",
    ),
    (CONFIGURATION, "keepLast:", "keepLast: 0", By::Api, "retentionPolicy: at least one keep rule"),
    (CONFIGURATION, "keepLast:", "keepLast: -1", By::Api, "retentionPolicy: keep rules can't be negative"),
    (CONFIGURATION, "keepLast:", "prune: true", By::Api, "retentionPolicy: at least one keep rule"),
    (
        CONFIGURATION,
        "jitter:",
        "hooks: {preBackup: {containerName: x}}",
        By::Api,
        "hooks: name exactly one of exec, httpGet, httpPost and tcpSocket",
    ),
    (S3, "endpoint:", "endpoint: file:///etc", By::Api, "s3.endpoint: must be a host"),
    (
        S3,
        "endpoint:",
        "endpoint: https://user:secret@s3.example.org",
        By::Api,
        "s3.endpoint: must not hold user and password",
    ),
    (S3, "endpoint:", "endpoint: s3.example.org:99999", By::Api, "s3.endpoint: must be a host"),
    (S3, "bucket:", "bucket: My_Bucket", By::Api, "s3.bucket: 3 to 63 lower-case letters"),
    (S3, "prefix:", "prefix: ../x", By::Api, "s3.prefix: must not hold"),
    (S3, "prefix:", "prefix: a//b", By::Api, "s3.prefix: must not hold"),
    (S3, "storageSecretName:", "storageSecretName: ''", By::Api, "backend.storageSecretName: name the Secret"),
    (
        S3,
        "storageSecretName:",
        "storageSecretName: s\nlocal: {mountPath: /a}",
        By::Api,
        "backend: name one place, not several",
    ),
    (LOCAL, "mountPath:", "mountPath: safe/data", By::Api, "local.mountPath: must be an absolute path"),
    (LOCAL, "mountPath:", "mountPath: /stash/x", By::Api, "local.mountPath: must not be /stash or below"),
    (LOCAL, "subPath:", "subPath: ../up", By::Api, "local.subPath: must be relative"),
    (LOCAL, "wipeOut:", "wipeOut: true", By::Api, "wipeOut: not for a local repository"),
    (RESTORE, "timeOut:", "timeOut: -5m", By::Api, "timeOut: can't be negative"),
    (RESTORE, "timeOut:", "timeOut: 1d", By::Api, "timeOut: must be a duration such as 1h30m"),
    (RESTORE, "- snapshots:", "- snapshots: [a, b]", By::Api, "target.rules[].snapshots: has no effect"),
    (RESTORE, "- snapshots:", "- {include: [x]}", By::Api, "target.rules[].include: has no effect"),
    (RESTORE, "timeOut:", "runtimeSettings: {pod: {}}", By::Api, "runtimeSettings: has no effect"),
    (CONFIGURATION, "jitter:", "runtimeSettings: {pod: {}}", By::Api, "runtimeSettings: has no effect"),
    (
        CONFIGURATION,
        "ref:",
        "paths: [/a]\nref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: shop}",
        By::Api,
        "target.paths: has no effect",
    ),
    (
        CONFIGURATION,
        "ref:",
        "ref: {apiVersion: apps/v1, kind: AppBinding, name: shop}",
        By::Api,
        "target.ref.apiVersion: has no effect",
    ),
    (CONFIGURATION, "keepLast:", "keepLast: 5\nprune: true", By::Api, "retentionPolicy.prune: has no effect"),
    (LOCAL, "subPath:", "nfs: {server: s, path: /p}", By::Api, "backend.local.nfs: has no effect"),
    (
        SESSION,
        "invoker:",
        "invoker: {apiGroup: stash.appscode.com, kind: BackupConfiguration, name: shop}",
        By::Api,
        "invoker.apiGroup: has no effect",
    ),
    (FUNCTION, "database:", "image: x", By::Api, "image: has no effect"),
    (
        RESTORE,
        "- snapshots:",
        "- snapshots: [a]\n- snapshots: [b]",
        By::Api,
        "target.rules: at most one rule without targetHosts",
    ),
    (
        RESTORE,
        "- snapshots:",
        "- targetHosts: [h]\n- targetHosts: [h]",
        By::Condition,
        "target.rules: a host may occur in one rule only",
    ),
    (
        SESSION,
        "invoker:",
        "invoker: {kind: BackupBatch, name: shop}",
        By::Api,
        "invoker.kind: must be BackupConfiguration",
    ),
    (FUNCTION, "stream:", "stream: {stdout: a, stdin: b}", By::Api, "stream: name either `stdout` or `stdin`"),
];

/// Replaces the line of `base` that starts with `key`, at the same indentation.
fn changed(base: &str, key: &str, lines: &str) -> String {
    let mut text = String::new();
    for line in base.lines() {
        let content = line.trim_start();
        if content.starts_with(key) {
            let indent = &line[..line.len() - content.len()];
            for new in lines.lines() {
                writeln!(text, "{indent}{new}").unwrap();
            }
        } else {
            writeln!(text, "{line}").unwrap();
        }
    }
    assert_ne!(text, base, "`{key}` is a line of\n{base}");
    text
}

#[test]
fn what_is_wrong_is_said_in_the_same_words_everywhere() -> Result<()> {
    let world = KubeWorld::new("rules")?;
    let _engine = world.engine(&[])?;
    let mut wrong = String::new();
    for (number, (base, key, lines, by, words)) in ROWS.iter().enumerate() {
        let yaml = changed(base, key, lines).replace("name: bad", &format!("name: bad-{number}"));
        let folder = parse("f.yaml", &yaml).remove(0);
        if !folder.is_err_and(|error| error.to_string().contains(words)) {
            writeln!(wrong, "{lines}: folder mode does not say `{words}`")?;
        }
        let answer = world.plane.manifest("create", &world.namespace, &yaml)?;
        match by {
            By::Api if answer.status.success() => writeln!(wrong, "{lines}: the API server accepts it")?,
            By::Api if !answer.stderr.contains(words) => {
                writeln!(wrong, "{lines}: the API server says not `{words}` but\n{}", answer.stderr)?;
            }
            By::Api => {}
            By::Condition if !answer.status.success() => {
                writeln!(wrong, "{lines}: the API server refuses it: {}", answer.stderr)?;
            }
            By::Condition => {
                let kind =
                    if *base == RESTORE { "restoresessions.lagan.dev" } else { "backupconfigurations.lagan.dev" };
                let name = format!("bad-{number}");
                let told = eventually("a condition", PATIENCE, || {
                    let object = world.kubectl_json(&["get", kind, &name]).ok()?;
                    object["status"]["conditions"].is_array().then_some(object)
                })?;
                let says = |condition: &serde_json::Value| {
                    condition["type"] == "ValidationPassed"
                        && condition["status"] == "False"
                        && condition["message"].as_str().is_some_and(|message| message.contains(words))
                };
                let list = told["status"]["conditions"].as_array().unwrap();
                if told["status"]["phase"] != "Invalid" || !list.iter().any(says) {
                    writeln!(wrong, "{lines}: its status does not say `{words}`: {:#}", told["status"])?;
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    Ok(())
}

#[test]
fn what_can_not_be_changed_is_not_changed_and_defaults_are_filled_in() -> Result<()> {
    let world = KubeWorld::new("update")?;
    world.apply(&RESTORE.replace("bad", "once"))?;
    let other = RESTORE.replace("bad", "once").replace("name: repo", "name: other");
    let answer = world.plane.manifest("apply", &world.namespace, &other)?;
    assert!(answer.stderr.contains("spec: a session can't be changed; create a new one"), "{}", answer.stderr);
    world.apply(&CONFIGURATION.replace("bad", "plain"))?;
    let stored = world.kubectl_json(&["get", "backupconfigurations.lagan.dev", "plain"])?;
    assert_eq!(
        (&stored["spec"]["paused"], &stored["spec"]["retentionPolicy"]["prune"]),
        (&false.into(), &false.into())
    );
    let typo = CONFIGURATION.replace("schedule:", "shedule:");
    let answer = world.plane.manifest("create", &world.namespace, &typo)?;
    assert!(answer.stderr.contains("shedule"), "{}", answer.stderr);
    let explained =
        world.kubectl(&["explain", "backupconfigurations.spec.jitter", "--api-version=lagan.dev/v1alpha1"])?;
    assert!(explained.contains("Upper bound of the delay"), "{explained}");
    let columns = world.kubectl(&["get", "lbc", "-o", "wide"])?;
    for column in
        ["TARGET", "REPOSITORY", "SCHEDULE", "PAUSED", "PHASE", "LAST SUCCESS", "AGE", "TASK", "NEXT", "REASON"]
    {
        assert!(columns.lines().next().is_some_and(|head| head.contains(column)), "{column} in {columns}");
    }
    let selected = world.kubectl(&["get", "lbc", "--field-selector", "spec.repository.name=repo", "-o", "name"])?;
    assert!(selected.contains("plain"), "{selected}");
    Ok(())
}

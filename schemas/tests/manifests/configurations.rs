//! Schedules, and the settings beside them.

use super::*;

pub(crate) const BLUEPRINT: &str = "\
apiVersion: lagan.dev/v1alpha1
kind: BackupBlueprint
metadata: {name: nightly}
spec:
  schedule: 0 2 * * *
  backend:
    storageSecretName: storage
    s3: {endpoint: 'https://s3.example.org', bucket: backups, prefix: '${TARGET_NAMESPACE}/${TARGET_NAME}'}
  retentionPolicy: {name: few, keepLast: 5}
";

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
        (
            c,
            "concurrencyPolicy:",
            "jitter: 5 parsecs",
            "f.yaml:10:11: jitter: must be a duration such as 1h30m, in the",
        ),
        (c, "concurrencyPolicy:", "jitter: 25h", "us and ns, and at most 24h, not `25h`"),
        (c, "concurrencyPolicy:", "timeOut: 1h-5m", "f.yaml:10:12: timeOut: must be a duration such as 1h30m"),
        (c, "concurrencyPolicy:", "timeOut: 99999999999999999999h", "timeOut: must be a duration such as 1h30m"),
        (c, "concurrencyPolicy:", "timeOut: ''", "and at most 2562047h, not ``"),
        (c, "concurrencyPolicy:", "timeOut: 5", "and at most 2562047h, not `5`"),
        (c, "concurrencyPolicy:", "timeOut: [5m]", "f.yaml:10:12: "),
        (c, "concurrencyPolicy:", "retryConfig: {delay: 1d}", "retryConfig.delay: must be a duration such as 1h30m"),
        (c, "schedule:", "schedule: '@every 1h-5m'", "schedule: `@every 1h-5m` needs a duration"),
        (c, "concurrencyPolicy:", "backupHistoryLimit: -1", "backupHistoryLimit: can't be negative"),
        (c, "concurrencyPolicy:", "retryConfig: {maxRetry: -1}", "retryConfig.maxRetry: must be 0 to 100"),
        (c, "concurrencyPolicy:", "retryConfig: {maxRetry: 101}", "retryConfig.maxRetry: must be 0 to 100"),
        (c, "concurrencyPolicy:", "retryConfig: {delay: -1s}", "retryConfig.delay: can't be negative: `-1s`"),
        (c, "concurrencyPolicy:", "timeOut: -5m", "timeOut: can't be negative"),
        (c, "concurrencyPolicy:", "jitter: -5m", "jitter: can't be negative"),
    ]);
    let targetless = c.replace("  target:\n    ref:\n", "  runtimeSettings:\n    pod:\n");
    assert!(one(&targetless).unwrap_err().to_string().ends_with("target.ref: name the AppBinding to back up"));
    accepted(&[
        (c, "concurrencyPolicy:", "jitter: 5m\ntimeOut: 1h30m\nretryConfig: {delay: 10s}"),
        // The rules of the CRD hold for all that is read.
        (c, "concurrencyPolicy:", "jitter: +.5us\ntimeOut: 1.5h1.5m\nretryConfig: {delay: 12µs}"),
        (c, "concurrencyPolicy:", "jitter: 24h\ntimeOut: 2562047h\nretryConfig: {delay: 0}"),
        (c, "concurrencyPolicy:", "jitter: null\ntimeOut: ~\nretryConfig: {delay: }"),
    ]);
}

/// Judges the objects that each database with an annotation would get, before one has it.
#[test]
fn a_blueprint_is_refused_with_its_field() {
    let b = BLUEPRINT;
    refused(&[
        (
            b,
            "schedule:",
            "schedule: 61 * * * *",
            "f.yaml:1:1: BackupBlueprint `nightly`: schedule: field 1 (minute) `61`",
        ),
        (b, "schedule:", "schedule: '@every 1h-5m'", "schedule: `@every 1h-5m` needs a duration"),
        (b, "schedule:", "timeZone: Mars/Phobos", "timeZone: unknown time zone `Mars/Phobos`"),
        (b, "schedule:", "schedule: '@daily'\ntimeZone: CEST", "timeZone: unknown time zone `CEST`"),
        (b, "schedule:", "timeOut: 1d", "f.yaml:5:12: timeOut: must be a duration such as 1h30m"),
        (b, "schedule:", "retryConfig: {delay: 1h-5m}", "retryConfig.delay: must be a duration such as 1h30m"),
        (b, "schedule:", "retryConfig: {maxRetry: -1}", "retryConfig.maxRetry: must be 0 to 100"),
    ]);
    accepted(&[
        (b, "schedule:", "schedule: ''"),
        (b, "schedule:", "timeZone: Europe/Berlin"),
        (b, "schedule:", "schedule: TZ=Europe/Berlin 0 3 * * *\ntimeOut: 1h30m\nretryConfig: {delay: 10s}"),
    ]);
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

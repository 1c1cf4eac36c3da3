//! Whatever people write, parsing ends with an answer.

use lagan_schemas::manifest::parse;
use proptest::prelude::*;

use crate::bases::{BINDING, CONFIGURATION, REPOSITORY, RESTORE};

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,300}") {
        let _ = parse("f", &text);
    }

    #[test]
    fn no_damaged_manifest_panics(at in any::<prop::sample::Index>(), length in 0..12usize, insert in "[-:{}\\[\\]|>&*!#'\"\\\\ \n\t0-9a-zé]{0,8}") {
        for base in [CONFIGURATION, REPOSITORY, BINDING, RESTORE] {
            let from = at.index(base.len());
            let damaged = format!("{}{insert}{}", &base[..from], &base[(from + length).min(base.len())..]);
            for error in parse("f", &damaged).into_iter().filter_map(Result::err) {
                prop_assert!(error.line >= 1 && !error.message.is_empty());
            }
        }
    }
}

#[test]
fn a_refused_document_names_its_object_and_quotes_no_value() {
    let refused = |text: &str| parse("f", text).remove(0).expect_err("it is refused").object.map(|object| *object);
    let object = refused(&REPOSITORY.replace("backend:", "backnd:")).expect("an object");
    assert_eq!((object.key.to_string().as_str(), object.key.group.as_str()), ("Repository/demo/repo", "lagan.dev"));
    assert_eq!(object.problem, "unknown field `backnd`; did you mean `backend`?");

    for field in [
        "hooks: {preBackup: {httpGet: {port: 1, httpHeaders: \"a CANARY\"}}}",
        "hooks: {preBackup: {httpGet: \"CANARY\"}}",
        "hooks: \"a CANARY\"",
        "paused: \"a CANARY\"",
        "backupHistoryLimit: \"a CANARY\"",
        "timeOut: \"a CANARY\"",
        "hooks: {preBackup: {httpGet: {port: [CANARY]}}}",
        "retryConfig: {delay: \"a CANARY\"}",
    ] {
        let object = refused(&format!("{CONFIGURATION}  {field}\n")).expect("an object");
        assert!(!object.problem.contains("CANARY"), "{}", object.problem);
    }

    let later = refused(&REPOSITORY.replace("v1alpha1", "v9")).expect("an object of a later version");
    assert_eq!(later.api_version, "lagan.dev/v9");
    for other in [
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: 5\n",
        "apiVersion: appcatalog.appscode.com/v1alpha1\nkind: Repository\nmetadata: {name: r}\nspec: {}\n",
        "apiVersion: lagan.dev/v1alpha1\nkind: Repository\nmetadata: {name: 'a b'}\nspec: {}\n",
        "apiVersion: lagan.dev/v1alpha1\nkind: Repository\nmetadata: {namespace: n}\nspec: {}\n",
        "apiVersion: lagan.dev/v1alpha1\nkind: Repository\nmetadata: {name: [\n",
    ] {
        assert_eq!(refused(other), None, "{other}");
    }
}

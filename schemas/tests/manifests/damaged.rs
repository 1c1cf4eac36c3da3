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

//! The one database that a stream of one database is written to.

use super::{Wanted, shown};
use crate::process::escape;

/// Decides between the new name that is asked for, the one in the arguments (`named`), and the one that was `dumped`.
pub(super) fn destination<'a>(
    dumped: Option<&'a str>,
    wanted: &Wanted<'a>,
    named: Option<&'a str>,
) -> Result<&'a str, String> {
    let into = wanted.renamed.or(named);
    let both = |field: &str, asked: &str, named: &str| {
        Err(format!("`{field}` asks for `{}`, and the arguments for `{named}`; name one of them", escape(asked)))
    };
    match (dumped, wanted.databases, wanted.renamed, named) {
        (.., Some(renamed), Some(named)) if renamed != named => both("as", renamed, named),
        (Some(dumped), asked, ..) => {
            asked.iter().find(|asked| *asked != dumped).map_or(Ok(into.unwrap_or(dumped)), |other| {
                Err(format!("the snapshot holds database `{dumped}`, and `databases` asks for `{}`", escape(other)))
            })
        }
        (None, [only], None, Some(named)) if only != named => both("databases", only, named),
        (None, [only], ..) => Ok(into.unwrap_or(only)),
        (None, [], ..) => into.ok_or_else(|| {
            "the snapshot does not say of which database it is; say where it goes (`--dbname=NAME` in `args`, \
             `databases: [NAME]`, or `lagan restore --database NAME`)"
                .to_owned()
        }),
        (None, several, ..) => Err(format!(
            "databases: the snapshot is of one database and names none, so exactly one name can be given, not {}",
            shown(several)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_the_one_that_is_asked_for_or_else_the_dumped_one() {
        let (shop, till) = (&["shop".to_owned()][..], &["shop".to_owned(), "till".to_owned()][..]);
        let cases: [(_, &[String], _, _, Result<_, &str>); 13] = [
            (Some("shop"), &[], None, None, Ok("shop")),
            (Some("shop"), shop, None, None, Ok("shop")),
            (Some("shop"), shop, None, Some("copy"), Ok("copy")),
            (Some("shop"), &[], Some("copy"), None, Ok("copy")),
            (Some("shop"), till, None, None, Err("`databases` asks for `till`")),
            (
                Some("shop"),
                &[],
                Some("copy"),
                Some("other"),
                Err("`as` asks for `copy`, and the arguments for `other`"),
            ),
            (None, &[], None, None, Err("does not say of which database it is")),
            (None, &[], None, Some("copy"), Ok("copy")),
            (None, shop, None, None, Ok("shop")),
            (None, shop, Some("copy"), None, Ok("copy")),
            (None, shop, None, Some("shop"), Ok("shop")),
            (None, shop, None, Some("copy"), Err("`databases` asks for `shop`, and the arguments for `copy`")),
            (None, till, None, None, Err("exactly one name can be given, not shop, till")),
        ];
        for (dumped, databases, renamed, named, expected) in cases {
            let found = destination(dumped, &Wanted { databases, renamed }, named);
            match expected {
                Ok(name) => assert_eq!(found.as_deref(), Ok(name)),
                Err(words) => assert!(found.as_ref().is_err_and(|error| error.contains(words)), "{found:?}: {words}"),
            }
        }
    }
}

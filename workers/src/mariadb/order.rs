//! Puts databases into an order in which they can be restored. mariadb-dump dumps one after the other, and a column whose
//! default is a sequence of a *later* database cannot be created. (Views, foreign keys and routines are put off or
//! unchecked.)

use std::collections::{BTreeMap, BTreeSet};

/// The order that sequences of other databases demand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    AsGiven,
    Changed(Vec<String>),
    /// These need each other: no order works.
    Impossible(Vec<String>),
}

/// Finds an order in which every database follows those whose sequences it uses; as close to the given as can be.
pub(super) fn order(databases: &[String], needs: &BTreeMap<String, BTreeSet<String>>) -> Order {
    let mut left: Vec<&String> = databases.iter().collect();
    let mut sorted: Vec<String> = Vec::new();
    while !left.is_empty() {
        let waiting = |name: &str| left.iter().any(|other| *other == name);
        let free = left.iter().position(|name| {
            needs.get(*name).is_none_or(|needed| needed.iter().all(|other| other == *name || !waiting(other)))
        });
        match free {
            Some(at) => sorted.push(left.remove(at).clone()),
            None => return Order::Impossible(left.into_iter().cloned().collect()),
        }
    }
    if sorted == databases { Order::AsGiven } else { Order::Changed(sorted) }
}

/// The databases in the `nextval(`database`.`sequence`)` calls of a default.
pub(super) fn sequence_databases(default: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for call in default.split("val(`").skip(1) {
        let mut name = String::new();
        let mut characters = call.chars().peekable();
        while let Some(character) = characters.next() {
            if character != '`' {
                name.push(character);
            } else if characters.next_if_eq(&'`').is_some() {
                name.push('`');
            } else {
                break;
            }
        }
        if characters.next() == Some('.') {
            found.insert(name);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split(' ').map(ToOwned::to_owned).collect()
    }

    fn needs(pairs: &[(&str, &str)]) -> BTreeMap<String, BTreeSet<String>> {
        let mut needs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (user, used) in pairs {
            needs.entry((*user).to_owned()).or_default().insert((*used).to_owned());
        }
        needs
    }

    #[test]
    fn users_of_sequences_follow_their_owners() {
        assert_eq!(order(&names("a b c"), &needs(&[("c", "a"), ("b", "b")])), Order::AsGiven);
        assert_eq!(order(&names("a b c"), &needs(&[("a", "c")])), Order::Changed(names("b c a")));
        assert_eq!(order(&names("a b c"), &needs(&[("a", "z")])), Order::AsGiven);
        assert_eq!(order(&names("a b c"), &needs(&[("a", "c"), ("c", "a")])), Order::Impossible(names("a c")));
    }

    #[test]
    fn the_databases_of_defaults_are_read() {
        let found = sequence_databases("nextval(`s``x`.`zs`) * lastval(`t`.`q`) + nextval(`only`)");
        assert_eq!(found, BTreeSet::from(["s`x".to_owned(), "t".to_owned()]));
    }
}

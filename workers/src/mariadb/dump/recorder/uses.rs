//! Tables that a statement uses besides the object that it is about.

use super::super::class::{ObjectKind, StatementKind};
use super::super::head::Head;
use super::super::statement::Statement;
use super::super::token::TokenKind;

/// Names of the tables that must exist for a statement that ends here. A table that is named with its database is left out:
/// no dump has one.
pub(super) fn used_tables(statement: &Statement<'_>) -> Vec<Vec<u8>> {
    let head = statement.head;
    let class = statement.class;
    match class.kind {
        StatementKind::Insert | StatementKind::Alter(ObjectKind::Table) => {
            class.name.map(|name| head.name(name)).into_iter().collect()
        }
        StatementKind::Lock => locked(head),
        StatementKind::Create(ObjectKind::Trigger | ObjectKind::Index) => {
            let from = class.name.unwrap_or_default() + 1;
            let on = (from..head.len()).find(|at| head.get(*at).is_some_and(|token| token.is("ON")));
            on.and_then(|on| plain_name(head, on + 1)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// The tables of `LOCK TABLES a WRITE, b READ`.
fn locked(head: &Head) -> Vec<Vec<u8>> {
    let is_first = |at: usize| at == 2 || head.get(at - 1).is_some_and(|before| before.is_symbol(b','));
    (2..head.len()).filter(|at| is_first(*at)).filter_map(|at| plain_name(head, at)).collect()
}

/// The name at this token, unless it is that of a database before a dot.
fn plain_name(head: &Head, at: usize) -> Option<Vec<u8>> {
    let is_name = head.get(at).is_some_and(|token| matches!(token.kind, TokenKind::Word | TokenKind::Name));
    let is_qualified = head.get(at + 1).is_some_and(|token| token.is_symbol(b'.'));
    (is_name && !is_qualified).then(|| head.name(at))
}

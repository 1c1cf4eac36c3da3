//! The form in which a dump carries text, and which values no form carries exactly.
//!
//! mariadb-dump converts text to the character set of its connection. Unicode and latin1 survive a conversion to
//! utf8mb4 unchanged; other character sets have bytes without a Unicode character, and bytes that share one. Over a
//! connection of the character set `binary` the server converts nothing, and `--hex-blob` then writes all text as
//! hexadecimal literals.

use super::{
    client::{QueryError, SqlClient, identifier},
    dump_args::DumpArgs,
    finding::Finding,
    inventory::{Column, Inventory},
    options::Switch,
};

/// The form of text in a dump.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TextForm {
    /// Quoted strings in utf8mb4.
    #[default]
    Utf8,
    /// Hexadecimal literals of the stored bytes.
    Hex,
}

impl TextForm {
    pub(super) const fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Utf8 => &["--default-character-set=utf8mb4"],
            Self::Hex => &["--default-character-set=binary", "--hex-blob"],
        }
    }
}

/// Character sets of which every byte survives a conversion to utf8mb4 and back.
pub(super) const EXACT_IN_UTF8: [&str; 4] = ["utf8mb4", "utf8mb3", "utf8", "latin1"];

/// All questions about FLOAT columns together may take this long; what is not answered by then counts as inexact.
const FLOAT_SECONDS: f64 = 20.0;

/// Chooses the form in which the text of these columns survives. `handshake` is the character set that the server
/// gave to a client that asked for `binary`.
pub(super) fn choose(args: &mut DumpArgs, inventory: &Inventory, handshake: &str) -> Option<Finding> {
    if inventory.legacy_text.is_empty() || args.is_on("no-data", Switch::Off) {
        return None;
    }
    // The rewriting of network addresses learns the types of columns from the table definitions.
    let untyped = args.is_on("no-create-info", Switch::Off) && !inventory.network.is_empty();
    if handshake != "binary" || untyped {
        return Some(Finding::InexactText(inventory.legacy_text.iter().map(Column::dotted).collect()));
    }
    args.text = TextForm::Hex;
    None
}

/// The FLOAT columns with values that would change in a dump.
pub(super) async fn inexact_floats(client: &SqlClient, inventory: &Inventory) -> Result<Vec<String>, QueryError> {
    // A line break in a name would shift the line numbers by which refusals are told apart.
    let (odd, asked): (Vec<&Column>, Vec<&Column>) =
        inventory.floats.iter().partition(|column| column.dotted().contains('\n'));
    let count = u32::try_from(asked.len().max(1)).unwrap_or(u32::MAX);
    let seconds = FLOAT_SECONDS / f64::from(count);
    let questions: Vec<String> = asked
        .iter()
        .map(|column| {
            let name = identifier(&column.name);
            let (database, table) = (identifier(&column.database), identifier(&column.table));
            format!(
                "SET STATEMENT max_statement_time={seconds:.6} FOR SELECT EXISTS(SELECT 1 FROM {database}.{table} \
                 WHERE {name} <> CAST(CAST({name} AS CHAR) AS FLOAT))"
            )
        })
        .collect();
    let answers = client.each(&questions).await?;
    let exact = |answer: &Result<Vec<Vec<String>>, _>| {
        answer.as_ref().is_ok_and(|rows| rows.first().and_then(|row| row.first()).is_some_and(|value| value == "0"))
    };
    let inexact = asked.iter().zip(&answers).filter(|(_, answer)| !exact(answer)).map(|(column, _)| *column);
    Ok(odd.into_iter().chain(inexact).map(Column::dotted).collect())
}

//! `lagan get`: prints objects as a table, or complete as documents.

use jiff::Timestamp;
use lagan_schemas::resource::{Group, Kind};
use serde_json::{Value, json};

use crate::args::{Format, GetArgs, Global};
use crate::client;
use crate::error::{Exit, Problem};
use crate::objects::{ObjectDocument, find, select};
use crate::output::{self, data, document, page};
use crate::store::{self, Query};
use crate::table::Headers;
use crate::views::{Namespaces, TableStyle, Width, table};

pub async fn run(args: GetArgs, global: &Global) -> Result<Exit, Problem> {
    let AskedObject { kind, group, name } = asked_object(&args.kind, args.name.as_deref())?;
    let client = client::connect(global, &args.connection).await?;
    let views = store::views(&client, Query { kinds: &[kind], namespaces: &[] }).await?;
    let scope = client.scope();
    let mut all = select(&views, kind, scope);
    all.retain(|view| store::is_of(view, group));
    let shown = match &name {
        Some(name) => match find(&all, name) {
            found if found.is_empty() => {
                return Err(store::name_broken_manifests(&client, store::not_found(kind, scope, name, &all)));
            }
            found => found,
        },
        None => all,
    };
    if let Some(text) =
        documents(args.output, kind, &shown, if name.is_some() { Selection::ByName } else { Selection::All })
    {
        data(&text)?;
        return Ok(Exit::Ok);
    }
    if shown.is_empty() {
        let place = scope.filter(|_| kind.is_namespaced()).map(|n| format!(" in namespace {n}")).unwrap_or_default();
        output::narrate(global, &format!("no {}{place}", kind.plural()));
        return Ok(Exit::Ok);
    }
    let style = TableStyle {
        glyphs: global.glyphs(),
        now: Timestamp::now(),
        width: if args.output == Format::Wide { Width::Wide } else { Width::Narrow },
        namespaces: if scope.is_none() { Namespaces::All } else { Namespaces::One },
    };
    let headers = if args.no_headers { Headers::Hide } else { Headers::Show };
    page(style.glyphs, &table(kind, &shown, style).render(headers))?;
    Ok(Exit::Ok)
}

/// The objects that a person names: those of a kind, perhaps of one API group, or one of them.
#[derive(Debug, PartialEq, Eq)]
pub struct AskedObject {
    pub kind: Kind,
    pub group: Option<Group>,
    pub name: Option<String>,
}

/// Parses `sessions`, `session NAME` and `session/NAME`, with or without a group as in `backupsessions.lagan.dev`.
pub fn asked_object(kind: &str, name: Option<&str>) -> Result<AskedObject, Problem> {
    let (word, name) = match (kind.split_once('/'), name) {
        (Some((word, name)), None) => (word, Some(name.to_owned())),
        (None, name) => (kind, name.map(str::to_owned)),
        (Some(_), Some(_)) => {
            return Err(Problem::new(
                Exit::Usage,
                format!("`{kind}` names an object already: leave out the second name, or write KIND NAME"),
            ));
        }
    };
    let known = Kind::from_words(word).filter(|(kind, _)| *kind != Kind::Secret);
    let (kind, group) = known.ok_or_else(|| {
        let kinds: Vec<_> = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Secret).map(Kind::plural).collect();
        let why = if word.to_ascii_lowercase().starts_with("secret") {
            "Secrets never leave their source"
        } else {
            "unknown kind, or the kind is not of this API group"
        };
        Problem::new(Exit::Usage, format!("`{word}`: {why}")).help(format!("the kinds are {}", kinds.join(", ")))
    })?;
    Ok(AskedObject { kind, group, name })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Selection {
    ByName,
    All,
}

/// One object by itself if it is named, else a list in the form of kubectl.
fn documents(format: Format, kind: Kind, shown: &[&ObjectDocument], selection: Selection) -> Option<String> {
    let each = |view: &&ObjectDocument| document(format, kind, &view.value);
    match (format, shown) {
        (Format::Table | Format::Wide, _) => None,
        (Format::Name | Format::Jsonl, _) => Some(shown.iter().filter_map(each).collect()),
        (_, [one]) if selection == Selection::ByName => each(one),
        _ => {
            let items: Vec<&Value> = shown.iter().map(|view| &view.value).collect();
            document(format, kind, &json!({ "apiVersion": "v1", "kind": "List", "items": items }))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::objects::tests::view;

    #[test]
    fn a_kind_can_carry_its_name() {
        let asked = |kind, group, name: &str| AskedObject { kind, group, name: Some(name.to_owned()) };
        assert_eq!(asked_object("session/shop-1", None).unwrap(), asked(Kind::BackupSession, None, "shop-1"));
        assert_eq!(asked_object("bc", Some("shop")).unwrap(), asked(Kind::BackupConfiguration, None, "shop"));
        let of_stash = asked(Kind::BackupConfiguration, Some(Group::Stash), "shop");
        assert_eq!(asked_object("bc.stash.appscode.com/shop", None).unwrap(), of_stash);
        assert!(asked_object("session/a", Some("b")).is_err());
        for (word, why) in [("pods", "unknown kind"), ("secrets", "never leave")] {
            let problem = asked_object(word, None).unwrap_err();
            assert!(problem.exit == Exit::Usage && problem.message.contains(why), "{problem}");
        }
    }

    #[test]
    fn one_object_is_a_document_and_several_are_a_list() {
        let view = view(
            json!({"apiVersion": "lagan.dev/v1alpha1", "kind": "Repository", "metadata": {"name": "main", "namespace": "default"}}),
        );
        let shown = [&view];
        assert_eq!(documents(Format::Name, Kind::Repository, &shown, Selection::ByName).unwrap(), "repository/main\n");
        let one: Value =
            serde_json::from_str(&documents(Format::Json, Kind::Repository, &shown, Selection::ByName).unwrap())
                .unwrap();
        assert_eq!(one, view.value);
        let list: Value =
            serde_json::from_str(&documents(Format::Json, Kind::Repository, &shown, Selection::All).unwrap()).unwrap();
        assert_eq!(list["items"][0], view.value);
        assert!(documents(Format::Yaml, Kind::Repository, &[], Selection::All).unwrap().contains("items: []"));
    }
}

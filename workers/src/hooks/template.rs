//! Renders Go templates in exec arguments and bodies, as Stash does. The engine is gotmpl; this file adds the few
//! functions of sprig that people use in hooks. A value becomes part of an argument or a body, never of a shell line.

use std::fmt;

use gotmpl::TemplateError;
use gotmpl::{Template, Value, to_value};
use serde::Serialize;
use serde_json::{Map, json};

/// Limit for a template and for its rendered text.
pub(super) const LIMIT_BYTES: usize = 64 * 1024;
/// Limit for the iterations of a template, so that it ends soon.
const ITERATIONS: u64 = 10_000;
/// The text that Go prints for a missing value.
const NO_VALUE: &str = "<no value>";

#[derive(Debug, thiserror::Error)]
pub(crate) enum RenderError {
    #[error("a template of {0} bytes is longer than {LIMIT_BYTES} bytes")]
    TooLong(usize),
    #[error("the rendered template is longer than {LIMIT_BYTES} bytes")]
    TooMuch,
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// The values that templates can use.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TemplateData {
    pub name: String,
    pub namespace: String,
    pub invoker: InvokerData,
    pub target: TargetData,
    pub status: StatusData,
    pub retry_left: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InvokerData {
    pub api_group: String,
    pub kind: String,
    pub name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TargetData {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub namespace: String,
    pub alias: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusData {
    pub phase: String,
    pub duration: String,
    pub error: String,
}

/// Renders a template. Text without `{{` is returned unchanged, as in Stash.
pub(crate) fn render(text: &str, data: &TemplateData) -> Result<String, RenderError> {
    if !text.contains("{{") {
        return Ok(text.to_owned());
    }
    if text.len() > LIMIT_BYTES {
        return Err(RenderError::TooLong(text.len()));
    }
    let template = functions(Template::new("hook").max_range_iters(ITERATIONS)).parse(text)?;
    let mut out = Bounded(String::new());
    match template.execute_fmt(&mut out, &values(data)?) {
        Ok(()) => Ok(out.0.replace(NO_VALUE, "")),
        Err(TemplateError::Write) => Err(RenderError::TooMuch),
        Err(error) => Err(error.into()),
    }
}

struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > LIMIT_BYTES {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// Offers each field under both spellings: Stash's documentation uses Go's (`.Status.Phase`), other users write the JSON
/// name (`.status.phase`).
fn values(data: &TemplateData) -> Result<Value, TemplateError> {
    let json = serde_json::to_value(data).unwrap_or_default();
    to_value(&both_spellings(json))
}

fn both_spellings(value: serde_json::Value) -> serde_json::Value {
    let serde_json::Value::Object(fields) = value else { return value };
    let mut both = Map::new();
    for (name, value) in fields {
        let value = both_spellings(value);
        let go = match name.as_str() {
            "apiGroup" => "APIGroup".to_owned(),
            "apiVersion" => "APIVersion".to_owned(),
            other => format!("{}{}", other[..1].to_ascii_uppercase(), &other[1..]),
        };
        both.insert(go, value.clone());
        both.insert(name, value);
    }
    both.into()
}

fn functions(template: Template) -> Template {
    let on_text =
        |change: fn(&str) -> String| move |args: &[Value]| Ok(Value::String(change(&text(args.first())).into()));
    template
        .func("upper", on_text(str::to_uppercase))
        .func("lower", on_text(str::to_lowercase))
        .func("trim", on_text(|text| text.trim().to_owned()))
        .func("quote", on_text(|text| json!(text).to_string()))
        .func("toJson", |args| Ok(Value::String(to_json(args.first()).to_string().into())))
        .func("default", |args| match args {
            [_, given] if given.is_truthy() => Ok(given.clone()),
            [other, ..] => Ok(other.clone()),
            [] => Err(TemplateError::ArgCount { name: "default".into(), expected: 2, got: 0 }),
        })
        .func("dict", |args| {
            let pairs =
                args.chunks(2).map(|pair| (text(pair.first()).into(), pair.get(1).cloned().unwrap_or(Value::Nil)));
            Ok(Value::Map(std::sync::Arc::new(pairs.collect())))
        })
        .func("list", |args| Ok(Value::List(args.into())))
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Nil) => String::new(),
        Some(value) => value.to_string(),
    }
}

fn to_json(value: Option<&Value>) -> serde_json::Value {
    match value {
        None | Some(Value::Nil) => serde_json::Value::Null,
        Some(Value::Bool(value)) => json!(value),
        Some(Value::Int(value)) => json!(value),
        Some(Value::Uint(value)) => json!(value),
        Some(Value::Float(value)) => json!(value),
        Some(Value::List(items)) => items.iter().map(|item| to_json(Some(item))).collect(),
        Some(Value::Map(fields)) => {
            let fields: Map<_, _> =
                fields.iter().map(|(name, value)| (name.to_string(), to_json(Some(value)))).collect();
            fields.into()
        }
        Some(other) => json!(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn data() -> TemplateData {
        TemplateData {
            name: "shop-1".into(),
            namespace: "demo".into(),
            invoker: InvokerData {
                api_group: "lagan.dev".into(),
                kind: "BackupConfiguration".into(),
                name: "shop".into(),
            },
            target: TargetData { kind: "AppBinding".into(), name: "db".into(), ..TargetData::default() },
            status: StatusData { phase: "Failed".into(), duration: "1m9s".into(), error: "it \"broke\"\n".into() },
            retry_left: 2,
        }
    }

    #[test]
    fn templates_are_filled_in_as_stash_fills_them() {
        for (template, text) in [
            ("no template, } and { stay", "no template, } and { stay"),
            ("{{ .name }}/{{ .namespace }}", "shop-1/demo"),
            ("{{.Name}}/{{.Target.Name}} {{ .Status.Phase }}", "shop-1/db Failed"),
            (
                "{{ .invoker.apiGroup }} {{ .Invoker.APIGroup }} {{ .Invoker.Kind }}",
                "lagan.dev lagan.dev BackupConfiguration",
            ),
            ("{{ .status.duration }} {{ .retryLeft }} {{ .RetryLeft }}", "1m9s 2 2"),
            ("[{{ .nothing }}{{ .status.nothing.at.all }}{{ .target.alias }}]", "[]"),
            (
                "{{ .target.alias | default \"none\" }} {{ .name | default \"x\" }} {{ default \"y\" .no }}",
                "none shop-1 y",
            ),
            ("{{ .name | upper }} {{ upper .name | lower }}", "SHOP-1 shop-1"),
            ("{{ .status.error | quote }} {{ toJson .status.error }}", r#""it \"broke\"\n" "it \"broke\"\n""#),
            ("{{ if eq .status.phase \"Failed\" }}bad{{ else }}good{{ end }}", "bad"),
            ("{{ $(rm -rf /) }}".trim_start_matches("{{ ").trim_end_matches(" }}"), "$(rm -rf /)"),
        ] {
            assert_eq!(render(template, &data()).unwrap(), text, "{template}");
        }
    }

    /// The message for Slack from the documentation of Stash.
    #[test]
    fn the_example_of_the_documentation_of_stash_works() {
        let template = r#"{{- $msg := dict  "type" "mrkdwn" "text" (printf ":x: Backup failed for %s/%s Reason: %s." .Namespace .Target.Name .Status.Error) -}}
{"blocks": [{"type": "section", "text": {{ toJson $msg }}}]}"#;
        let text = render(template, &data()).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["blocks"][0]["text"]["text"], ":x: Backup failed for demo/db Reason: it \"broke\"\n.");
    }

    #[test]
    fn what_a_template_can_t_do_is_an_error_that_says_where() {
        for (template, why) in [
            ("{{ nofunc .name }}", "nofunc"),
            ("{{ .name | exec }}", "exec"),
            ("{{ .name", "1:"),
            ("line\n{{ if }}x{{ end }}", "2:"),
        ] {
            let error = render(template, &data()).unwrap_err().to_string();
            assert!(error.contains(why), "{template}: {error}");
        }
    }

    #[test]
    fn a_template_ends_and_its_text_has_a_limit() {
        assert!(matches!(
            render(&format!("{{{{ .name }}}}{}", "x".repeat(70_000)), &data()),
            Err(RenderError::TooLong(_))
        ));
        assert!(matches!(render("{{ range 9999 }}{{ $.status.error }}{{ end }}", &data()), Err(RenderError::TooMuch)));
        assert!(render("{{ range 1000000000 }}{{ end }}", &data()).is_err());
        assert!(render("{{ define \"a\" }}{{ template \"a\" }}{{ end }}{{ template \"a\" }}", &data()).is_err());
    }
}

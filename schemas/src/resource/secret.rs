//! Secret as read from a folder or the API. It is never published, has no `Serialize`, and its `Debug` shows keys only.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use serde::Deserialize;

use super::Metadata;
use super::app_binding::SecretTransform;

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    pub metadata: Metadata,
    /// Values in base64, as in the API.
    #[serde(default, deserialize_with = "super::null_is_absent")]
    data: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "super::null_is_absent")]
    string_data: BTreeMap<String, String>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SecretError {
    #[error("secret `{secret}` has no key `{key}`")]
    KeyMissing { secret: String, key: String },
    #[error("key `{key}` of secret `{secret}` is empty")]
    KeyEmpty { secret: String, key: String },
    #[error("key `{key}` of secret `{secret}` is not base64; write plain text under `stringData`")]
    NotBase64 { secret: String, key: String },
    #[error("key `{key}` of secret `{secret}` has a line break inside; it must be one line")]
    SeveralLines { secret: String, key: String },
    #[error("key `{key}` of secret `{secret}` is not UTF-8 text")]
    NotText { secret: String, key: String },
    #[error("secret `{secret}`: addKey `{key}` has neither `value` nor `stringValue`")]
    AddKeyEmpty { secret: String, key: String },
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.data.keys().chain(self.string_data.keys()).collect();
        write!(f, "Secret({}, keys {keys:?})", self.metadata.name)
    }
}

impl Secret {
    fn missing(&self, key: &str) -> SecretError {
        SecretError::KeyMissing { secret: self.metadata.name.clone(), key: key.to_owned() }
    }

    /// Returns the value of a key.
    pub fn find(&self, key: &str) -> Result<Option<Vec<u8>>, SecretError> {
        if let Some(text) = self.string_data.get(key) {
            return Ok(Some(text.clone().into_bytes()));
        }
        let Some(encoded) = self.data.get(key) else { return Ok(None) };
        let compact: String = encoded.split_ascii_whitespace().collect();
        base64::engine::general_purpose::STANDARD
            .decode(compact)
            .map(Some)
            .map_err(|_| SecretError::NotBase64 { secret: self.metadata.name.clone(), key: key.to_owned() })
    }

    /// Returns the value of a key as text, without a trailing newline, which comes from an editor.
    pub fn find_text(&self, key: &str) -> Result<Option<String>, SecretError> {
        let Some(bytes) = self.find(key)? else { return Ok(None) };
        let text = String::from_utf8(bytes)
            .map_err(|_| SecretError::NotText { secret: self.metadata.name.clone(), key: key.to_owned() })?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(Some(text.strip_suffix('\r').unwrap_or(text).to_owned()))
    }

    /// Returns the value of a key that is one line, such as an access key, without line breaks at either end.
    pub fn find_line(&self, key: &str) -> Result<Option<String>, SecretError> {
        let Some(text) = self.find_text(key)? else { return Ok(None) };
        let line = text.trim_matches(['\r', '\n']);
        if line.contains(['\r', '\n']) {
            return Err(SecretError::SeveralLines { secret: self.metadata.name.clone(), key: key.to_owned() });
        }
        Ok(Some(line.to_owned()))
    }

    /// Returns the value of a key that must exist and not be empty.
    pub fn text(&self, key: &str) -> Result<String, SecretError> {
        let text = self.find_text(key)?.ok_or_else(|| self.missing(key))?;
        if text.is_empty() {
            return Err(SecretError::KeyEmpty { secret: self.metadata.name.clone(), key: key.to_owned() });
        }
        Ok(text)
    }

    /// Applies an AppBinding's transforms in order. `other` finds the Secrets that `addKeysFrom` names.
    pub fn transform(
        mut self,
        transforms: &[SecretTransform],
        other: impl Fn(&str) -> Option<Self>,
    ) -> Result<Self, SecretError> {
        for transform in transforms {
            match transform {
                SecretTransform::AddKey { key, value, string_value } => match (string_value, value) {
                    (Some(text), _) => drop(self.string_data.insert(key.clone(), text.clone())),
                    (None, Some(encoded)) => drop(self.data.insert(key.clone(), encoded.clone())),
                    (None, None) => {
                        let secret = self.metadata.name;
                        return Err(SecretError::AddKeyEmpty { secret, key: key.clone() });
                    }
                },
                SecretTransform::RenameKey { from, to } => {
                    let text = self.string_data.remove(from);
                    let data = self.data.remove(from);
                    match (text, data) {
                        (Some(text), _) => drop(self.string_data.insert(to.clone(), text)),
                        (None, Some(data)) => drop(self.data.insert(to.clone(), data)),
                        (None, None) => return Err(self.missing(from)),
                    }
                }
                SecretTransform::AddKeysFrom { secret_ref } => {
                    let more = other(&secret_ref.name).ok_or_else(|| self.missing(&secret_ref.name))?;
                    self.data.extend(more.data);
                    self.string_data.extend(more.string_data);
                }
                SecretTransform::RemoveKey { key } => {
                    self.data.remove(key);
                    self.string_data.remove(key);
                }
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn line_breaks_around_a_key_are_no_part_of_it_and_inside_it_are_refused() {
        let secret = |value: &str| -> Secret {
            serde_json::from_value(serde_json::json!({"metadata": {"name": "s3"}, "stringData": {"KEY": value}}))
                .unwrap()
        };
        for text in ["AKIA", "AKIA\n", "AKIA\n\n", "AKIA\r\n", "\nAKIA", "\r\n\r\nAKIA\r\n"] {
            assert_eq!(secret(text).find_line("KEY").unwrap().as_deref(), Some("AKIA"), "{text:?}");
        }
        assert_eq!(secret("AKIA").find_line("OTHER").unwrap(), None);
        let told = secret("AK\nIA\n").find_line("KEY").unwrap_err().to_string();
        assert_eq!(told, "key `KEY` of secret `s3` has a line break inside; it must be one line");
        assert_eq!(secret("a\n\n").find_text("KEY").unwrap().as_deref(), Some("a\n"), "a password keeps what it has");
    }
}

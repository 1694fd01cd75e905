//! JSON merge patch (RFC 7396) on raw JSON: order, numbers and strings of what it does not touch stay as written.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;

use super::document::checked_object;
use super::json::{Fields, JsonError, is_object, unquote};
use super::names::{DocumentId, shown};
use crate::error::{Error, Result};

/// A checked merge patch: a JSON object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergePatch(Bytes);

impl MergePatch {
    /// Checks a patch for the document `id`; `bad_request` where it is no JSON object or changes `_id`.
    pub fn parse(body: &Bytes, id: &DocumentId) -> Result<MergePatch> {
        let patch = checked_object(body, "the patch")?;
        let broken = |error: JsonError| Error::bad_request(format!("the patch is not JSON: {error}"));
        for field in Fields::of_object(&patch).map_err(broken)? {
            let field = field.map_err(broken)?;
            if field.key() == "_id" && unquote(field.value).as_deref() != Some(id.as_str()) {
                return Err(Error::bad_request(format!(
                    "the patch changes the _id of {}; save the document under the other id instead",
                    shown(id.as_str())
                )));
            }
        }
        Ok(MergePatch(patch))
    }

    /// A patch that was checked before.
    pub(super) fn trusted(json: Bytes) -> MergePatch {
        MergePatch(json)
    }

    /// Its compact JSON.
    pub fn json(&self) -> &Bytes {
        &self.0
    }

    /// `target` (a checked, compact object) with the patch merged into it.
    pub(super) fn merged_into(&self, target: &[u8]) -> Result<Vec<u8>, JsonError> {
        let mut out = Vec::with_capacity(target.len() + self.0.len());
        merge(Some(target), &self.0, &mut out)?;
        Ok(out)
    }
}

/// The `MergePatch` of RFC 7396, section 2. It recurses no deeper than the patch nests, which was checked.
fn merge(target: Option<&[u8]>, patch: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
    if !is_object(patch) {
        out.extend_from_slice(patch);
        return Ok(());
    }
    let changes = Fields::of_object(patch)?.collect::<Result<Vec<_>, _>>()?;
    let by_key: HashMap<Cow<'_, str>, usize> = changes.iter().enumerate().map(|(n, field)| (field.key(), n)).collect();
    let mut used = vec![false; changes.len()];
    out.push(b'{');
    let empty = out.len();
    if let Some(target) = target.filter(|target| is_object(target)) {
        for field in Fields::of_object(target)? {
            let field = field?;
            match by_key.get(&field.key()) {
                None => {
                    push_key(out, empty, field.raw_key());
                    out.extend_from_slice(field.value);
                }
                Some(n) => {
                    used[*n] = true;
                    if changes[*n].value != b"null" {
                        push_key(out, empty, field.raw_key());
                        merge(Some(field.value), changes[*n].value, out)?;
                    }
                }
            }
        }
    }
    for (change, used) in changes.iter().zip(used) {
        if !used && change.value != b"null" {
            push_key(out, empty, change.raw_key());
            merge(None, change.value, out)?;
        }
    }
    out.push(b'}');
    Ok(())
}

fn push_key(out: &mut Vec<u8>, empty: usize, raw_key: &str) {
    if out.len() > empty {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(raw_key.as_bytes());
    out.extend_from_slice(b"\":");
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    fn merged(target: &str, patch: &str) -> String {
        let patch = MergePatch::trusted(Bytes::copy_from_slice(patch.as_bytes()));
        String::from_utf8(patch.merged_into(target.as_bytes()).unwrap()).unwrap()
    }

    /// The cases of RFC 7396, appendix A, whose patch is an object.
    #[test]
    fn the_cases_of_the_rfc() {
        for (target, patch, want) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r#"{}"#),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            (r#"[1,2]"#, r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            (r#"{}"#, r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            assert_eq!(merged(target, patch), want, "{target} + {patch}");
        }
    }

    #[test]
    fn what_it_does_not_touch_stays_as_written() {
        let target = r#"{"_id":"x","\u0061":1.0e2,"b":{"y":1,"x":12345678901234567890}}"#;
        assert_eq!(
            merged(target, r#"{"b":{"x":null,"z":1.00},"a":{"n":null}}"#),
            r#"{"_id":"x","\u0061":{},"b":{"y":1,"z":1.00}}"#
        );
    }

    #[test]
    fn it_cannot_change_the_id() {
        let id = DocumentId::parse("x").unwrap();
        for (patch, fine) in
            [(r#"{"_id":"x"}"#, true), (r#"{"_id":"y"}"#, false), (r#"{"_id":null}"#, false), ("[]", false)]
        {
            assert_eq!(MergePatch::parse(&Bytes::from_static(patch.as_bytes()), &id).is_ok(), fine, "{patch}");
        }
    }

    /// The pseudocode of the RFC on trees.
    fn model(target: Option<Value>, patch: &Value) -> Value {
        let Value::Object(changes) = patch else { return patch.clone() };
        let mut fields = match target {
            Some(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        for (key, change) in changes {
            if change.is_null() {
                fields.remove(key);
            } else {
                let old = fields.get(key).cloned();
                fields.insert(key.clone(), model(old, change));
            }
        }
        Value::Object(fields)
    }

    fn object() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), any::<u8>().prop_map(Into::into), Just(Value::from("s"))];
        let value = leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        });
        prop::collection::btree_map("[a-d]", value, 0..4).prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn it_does_what_the_rfc_says(target in object(), patch in object()) {
            let out = merged(&target.to_string(), &patch.to_string());
            prop_assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), model(Some(target), &patch));
        }
    }
}

//! A document on its way in: checked once, then raw JSON under an id.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::json::{self, Fields, push_string, unquote};
use super::names::{DocumentId, shown};
use crate::error::{Error, Result};

/// A checked JSON object, compact, that may not have its `_id` yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    json: Bytes,
    /// Where the value of the field `_id` stands.
    id_value: Option<Range<usize>>,
    /// Where the value of the field `id` stands.
    plain_id_value: Option<Range<usize>>,
}

/// A checked document whose field `_id` is its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentifiedDocument {
    /// The id.
    pub id: DocumentId,
    /// The compact JSON, with the field `_id`.
    pub json: Bytes,
}

impl Document {
    /// Checks that `body` is one JSON object and makes it compact.
    ///
    /// `bad_request` where it is none (the message says what is wrong and at which byte), `too_large` where it has
    /// more than `max_bytes`.
    pub fn parse(body: &Bytes, max_bytes: usize) -> Result<Document> {
        if body.len() > max_bytes {
            return Err(too_large(body.len(), max_bytes));
        }
        let json = checked_object(body, "the document")?;
        let mut document = Document { json, id_value: None, plain_id_value: None };
        for field in Fields::of_object(&document.json).map_err(not_json)? {
            let field = field.map_err(not_json)?;
            let value = field.offset..field.offset + field.value.len();
            match &*field.key() {
                "_id" => document.id_value = Some(value),
                "id" => document.plain_id_value = Some(value),
                _ => {}
            }
        }
        Ok(document)
    }

    /// Under its own `_id`, else under its `id` if that is a string of 1 to 512 bytes, else under `fresh()`.
    ///
    /// # Errors
    /// `bad_request` for an `_id` that can be none: absent, null and `""` ask for another one.
    pub fn with_own_id(self, fresh: impl FnOnce() -> DocumentId) -> Result<IdentifiedDocument> {
        if let Some(id) = self.own_id()? {
            return Ok(IdentifiedDocument { id, json: self.json });
        }
        let plain = self.text(&self.plain_id_value).and_then(|id| DocumentId::parse(&id).ok());
        let id = plain.unwrap_or_else(fresh);
        Ok(self.stored_as(id))
    }

    /// Under `id`; `bad_request` where its `_id` is another one.
    pub fn with_id(self, id: DocumentId) -> Result<IdentifiedDocument> {
        match self.own_id()? {
            Some(own) if own == id => Ok(IdentifiedDocument { id, json: self.json }),
            Some(own) => Err(Error::bad_request(format!(
                "the document's _id is {} and the request says {}; leave one of them out",
                shown(own.as_str()),
                shown(id.as_str())
            ))),
            None => Ok(self.stored_as(id)),
        }
    }

    /// What its `_id` says, if anything.
    fn own_id(&self) -> Result<Option<DocumentId>> {
        let Some(place) = &self.id_value else { return Ok(None) };
        let value = &self.json[place.clone()];
        match unquote(value) {
            Some(text) if text.is_empty() => Ok(None),
            Some(text) => DocumentId::parse(&text).map(Some),
            None if value == b"null" => Ok(None),
            None => Err(Error::bad_request(format!(
                "the document's _id is {}, and an id is a string: write it as one, or leave it out for a fresh one",
                shown(&String::from_utf8_lossy(value))
            ))),
        }
    }

    fn text(&self, value: &Option<Range<usize>>) -> Option<Cow<'_, str>> {
        unquote(&self.json[value.clone()?])
    }

    /// Puts `id` in the place of an empty `_id`, or in front.
    fn stored_as(self, id: DocumentId) -> IdentifiedDocument {
        let mut json = Vec::with_capacity(self.json.len() + id.as_str().len() + 16);
        match &self.id_value {
            Some(value) => {
                json.extend_from_slice(&self.json[..value.start]);
                push_string(&mut json, id.as_str());
                json.extend_from_slice(&self.json[value.end..]);
            }
            None => {
                json.extend_from_slice(b"{\"_id\":");
                push_string(&mut json, id.as_str());
                if self.json.len() > 2 {
                    json.push(b',');
                }
                json.extend_from_slice(&self.json[1..]);
            }
        }
        IdentifiedDocument { id, json: json.into() }
    }
}

/// Checks that `body` is one JSON object; compact, and the same memory where it was compact before.
pub(super) fn checked_object(body: &Bytes, what: &str) -> Result<Bytes> {
    let compact = json::compact(body).map_err(|error| Error::bad_request(format!("{what} is not JSON: {error}")))?;
    if !json::is_object(&compact) {
        return Err(Error::bad_request(format!("{what} is no JSON object; send one in braces")));
    }
    Ok(match compact {
        Cow::Borrowed(_) => body.clone(),
        Cow::Owned(compact) => compact.into(),
    })
}

/// The error for a document beyond the limit.
pub(super) fn too_large(bytes: usize, max_bytes: usize) -> Error {
    Error::too_large(format!("the document has {bytes} bytes and the limit is {max_bytes}; split it"))
        .with("limit", max_bytes as u64)
}

fn not_json(error: json::JsonError) -> Error {
    Error::bad_request(format!("the document is not JSON: {error}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Document {
        Document::parse(&Bytes::copy_from_slice(text.as_bytes()), 1000).unwrap()
    }

    fn posted(text: &str) -> (String, String) {
        let stored = parse(text).with_own_id(|| DocumentId::parse("fresh").unwrap()).unwrap();
        (stored.id.to_string(), String::from_utf8(stored.json.to_vec()).unwrap())
    }

    fn put(text: &str, id: &str) -> Result<String> {
        let stored = parse(text).with_id(DocumentId::parse(id).unwrap())?;
        Ok(String::from_utf8(stored.json.to_vec()).unwrap())
    }

    #[test]
    fn a_posted_document_is_stored_under_its_own_id_or_a_fresh_one() {
        for (text, id, want) in [
            (r#"{"a":1,"_id":"x"}"#, "x", r#"{"a":1,"_id":"x"}"#),
            (r#"{"a":1,"\u005fid":"\u0078"}"#, "x", r#"{"a":1,"\u005fid":"\u0078"}"#),
            (r#"{"a":1,"_id":null,"id":"y"}"#, "y", r#"{"a":1,"_id":"y","id":"y"}"#),
            (r#"{"_id":"","id":7}"#, "fresh", r#"{"_id":"fresh","id":7}"#),
            (r#"{"a":1,"id":"y\""}"#, "y\"", r#"{"_id":"y\"","a":1,"id":"y\""}"#),
            (r#"{"a":1,"_id":"","id":null}"#, "fresh", r#"{"a":1,"_id":"fresh","id":null}"#),
            (" { } ", "fresh", r#"{"_id":"fresh"}"#),
        ] {
            assert_eq!(posted(text), (id.to_owned(), want.to_owned()), "{text}");
        }
    }

    #[test]
    fn an_id_that_can_be_none_is_refused_and_never_changed() {
        let id = || DocumentId::parse("x").unwrap();
        let long = format!("\"{}\"", "x".repeat(513));
        for value in ["7", "7.0", "true", "[]", r#"{"$oid":"507f1f77bcf86cd799439011"}"#, &long] {
            let document = || parse(&format!(r#"{{"_id":{value},"id":"y"}}"#));
            let posted = document().with_own_id(id).unwrap_err();
            assert!(posted.message().contains("id"), "{posted}");
            assert_eq!(posted.code(), jettra_client::wire::ErrorCode::BadRequest);
            document().with_id(id()).unwrap_err();
        }
    }

    #[test]
    fn a_put_document_takes_the_id_of_the_request() {
        assert_eq!(put(r#"{"a":1}"#, "x").unwrap(), r#"{"_id":"x","a":1}"#);
        assert_eq!(put(r#"{"a":1,"_id":null}"#, "x").unwrap(), r#"{"a":1,"_id":"x"}"#);
        assert_eq!(put(r#"{"a":1,"_id":"x"}"#, "x").unwrap(), r#"{"a":1,"_id":"x"}"#);
        assert!(put(r#"{"_id":"y"}"#, "x").unwrap_err().message().contains("\"y\""));
    }

    #[test]
    fn what_is_no_object_or_too_large_is_refused() {
        for text in ["[]", "1", "{", "\"x\"", ""] {
            assert!(Document::parse(&Bytes::copy_from_slice(text.as_bytes()), 1000).is_err(), "{text}");
        }
        let error = Document::parse(&Bytes::from(vec![b' '; 1001]), 1000).unwrap_err();
        assert_eq!(error.code(), jettra_client::wire::ErrorCode::TooLarge);
    }
}

//! Documents as the bytes they are.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::{Error, Result};

/// A document as it is stored: JSON text, byte for byte.
///
/// Numbers of any length, the order of fields and the blanks inside are kept. [`parse`](Document::parse)
/// turns it into a type of yours.
///
/// ```
/// use jettra_client::Document;
///
/// let document: Document = r#"{"_id":"a","n":123456789012345678901234567890.10}"#.parse()?;
/// assert_eq!(document.id(), Some("a"));
/// assert!(document.as_str().ends_with("123456789012345678901234567890.10}"));
/// # Ok::<(), jettra_client::Error>(())
/// ```
#[derive(Clone)]
pub struct Document {
    json: Box<RawValue>,
    id: Option<String>,
    rev: Option<u64>,
}

/// The one field of a document that the client reads.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "_id", borrow, default)]
    id: Option<Cow<'a, str>>,
}

impl Document {
    pub(crate) fn from_raw(json: Box<RawValue>, rev: Option<u64>) -> Document {
        let id = serde_json::from_str::<Head<'_>>(json.get()).ok().and_then(|head| head.id).map(Cow::into_owned);
        Document { json, id, rev }
    }

    /// The document's `_id`. Absent only where a query's `fields` left it out.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The revision of this state: the log index of the write that made it. Known where one
    /// document was asked for, not in the results of queries.
    pub fn rev(&self) -> Option<u64> {
        self.rev
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        self.json.get()
    }

    /// The JSON text, as `serde_json` carries it unparsed.
    pub fn as_raw(&self) -> &RawValue {
        &self.json
    }

    /// The document as a type of yours.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if the document has another shape; the message says where.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(self.json.get()).map_err(|error| {
            Error::invalid(format!("document {:?} has another shape: {error}", self.id().unwrap_or_default()))
        })
    }
}

impl std::str::FromStr for Document {
    type Err = Error;

    fn from_str(text: &str) -> Result<Document> {
        let json: Box<RawValue> =
            serde_json::from_str(text).map_err(|error| Error::invalid(format!("the document is not JSON: {error}")))?;
        Ok(Document::from_raw(json, None))
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.json.get())
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("rev", &self.rev).field("json", &self.json.get()).finish_non_exhaustive()
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

/// Works with `serde_json` only, as everything that keeps raw JSON does.
impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Document, D::Error> {
        Ok(Document::from_raw(Box::<RawValue>::deserialize(deserializer)?, None))
    }
}

/// A document on its way to a node: JSON text, sent as it is.
///
/// Made from text (`&str`, `String`), a [`Document`], a `serde_json` value, or with
/// [`of`](DocumentBody::of) from anything that serializes.
///
/// ```
/// use jettra_client::DocumentBody;
///
/// #[derive(serde::Serialize)]
/// struct User<'a> { _id: &'a str, born: u16 }
///
/// let typed = DocumentBody::of(&User { _id: "ada", born: 1815 })?;
/// let text = DocumentBody::from(r#"{"_id":"ada","born":1815}"#);
/// assert_eq!(typed.as_bytes(), text.as_bytes());
/// # Ok::<(), jettra_client::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct DocumentBody(Bytes);

impl DocumentBody {
    /// The JSON of a value.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if the value cannot be written as JSON (a map with keys that are not strings).
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<DocumentBody> {
        let json = serde_json::to_vec(value)
            .map_err(|error| Error::invalid(format!("the value cannot be written as JSON: {error}")))?;
        Ok(DocumentBody(json.into()))
    }

    /// The JSON text as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl From<&str> for DocumentBody {
    fn from(json: &str) -> Self {
        DocumentBody(Bytes::copy_from_slice(json.as_bytes()))
    }
}

impl From<String> for DocumentBody {
    fn from(json: String) -> Self {
        DocumentBody(json.into())
    }
}

impl From<&String> for DocumentBody {
    fn from(json: &String) -> Self {
        json.as_str().into()
    }
}

impl From<&Document> for DocumentBody {
    fn from(document: &Document) -> Self {
        document.as_str().into()
    }
}

impl From<&RawValue> for DocumentBody {
    fn from(json: &RawValue) -> Self {
        json.get().into()
    }
}

impl From<&serde_json::Value> for DocumentBody {
    fn from(value: &serde_json::Value) -> Self {
        DocumentBody(value.to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_keeps_its_bytes() {
        let text = r#"{"z":1.0, "a":18446744073709551616,"_id":"é\u0041"}"#;
        let document: Document = text.parse().unwrap();
        assert_eq!(document.as_str(), text);
        assert_eq!(document.id(), Some("éA"));
        assert_eq!(serde_json::to_string(&[document]).unwrap(), format!("[{text}]"));
    }

    #[test]
    fn a_document_without_id_is_a_document() {
        let document: Document = r#"{"name":"x"}"#.parse().unwrap();
        assert_eq!(document.id(), None);
    }

    #[test]
    fn parse_says_where_the_shape_differs() {
        #[derive(Debug, Deserialize)]
        struct User {
            #[serde(rename = "born")]
            _born: u16,
        }
        let document: Document = r#"{"_id":"a","born":"1815"}"#.parse().unwrap();
        let message = document.parse::<User>().unwrap_err().to_string();
        assert!(message.contains(r#"document "a""#) && message.contains("u16"), "{message}");
    }
}

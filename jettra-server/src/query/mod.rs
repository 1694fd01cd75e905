//! What a query picks of the documents that a scan finds. Filters and plans come here.

use bytes::{BufMut, BytesMut};

use crate::error::{Error, Result};
use crate::limits;
use crate::state::json::Fields;

/// `fields=a,b`: the top-level fields that an answer shows; `_id` always.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Projection(Option<Vec<String>>);

impl Projection {
    /// Parses a comma-separated list; absent or empty means whole documents.
    ///
    /// # Errors
    /// `bad_request` for too many fields.
    pub fn parse(text: Option<&str>) -> Result<Self> {
        let Some(text) = text.filter(|t| !t.is_empty()) else { return Ok(Projection(None)) };
        let names: Vec<String> = text.split(',').map(str::to_owned).collect();
        if names.len() > limits::FIELDS {
            return Err(Error::bad_request(format!("fields: {} names, {} are the most", names.len(), limits::FIELDS)));
        }
        Ok(Projection(Some(names)))
    }

    /// Writes the document, or what the projection shows of it, as it stands.
    pub fn write(&self, document: &[u8], out: &mut BytesMut) {
        let (Some(names), Ok(fields)) = (&self.0, Fields::of_object(document)) else {
            out.put_slice(document);
            return;
        };
        out.put_u8(b'{');
        let mut comma = false;
        // A stored document was checked before: a field that cannot be read does not exist.
        for field in fields.flatten() {
            let key = field.key();
            if key != "_id" && !names.iter().any(|name| *name == key) {
                continue;
            }
            if std::mem::replace(&mut comma, true) {
                out.put_u8(b',');
            }
            let mut name = Vec::with_capacity(key.len() + 2);
            crate::state::json::push_string(&mut name, &key);
            out.put_slice(&name);
            out.put_u8(b':');
            out.put_slice(field.value);
        }
        out.put_u8(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(fields: Option<&str>, document: &str) -> String {
        let mut out = BytesMut::new();
        Projection::parse(fields).unwrap().write(document.as_bytes(), &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn a_projection_shows_the_named_fields_in_the_documents_order() {
        let document = r#"{"a":1.50,"_id":"x","b":{"c":[1]},"é":null}"#;
        assert_eq!(shown(None, document), document);
        assert_eq!(shown(Some(""), document), document);
        assert_eq!(shown(Some("é,a,zzz"), document), r#"{"a":1.50,"_id":"x","é":null}"#);
        assert_eq!(shown(Some("b"), document), r#"{"_id":"x","b":{"c":[1]}}"#);
    }
}

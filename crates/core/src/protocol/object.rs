//! JSON in which an object is an object. serde's derived code takes an array of the values for any
//! struct, too, in the order of its fields: then a peer's mistake would pass for a message that
//! nobody meant.
//!
//! The check costs no second parse and no copy: [`ObjectsOnly`] wraps a deserializer, and refuses
//! an array at the moment in which a struct would be made of it.

use std::fmt;

use serde::Deserialize;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde_json::Error;

/// The error for such an array.
const FOUND_ARRAY: &str = "expected an object, found an array";

/// Reads a value from JSON that is an object; nor may an array stand for an object within it.
pub fn from_slice<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Error> {
    check_first(json)?;
    let mut json = serde_json::Deserializer::from_slice(json);
    let value = T::deserialize(ObjectsOnly(&mut json))?;
    json.end()?;
    Ok(value)
}

/// As [`from_slice`], from text.
pub fn from_str<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Error> {
    check_first(json.as_bytes())?;
    let mut json = serde_json::Deserializer::from_str(json);
    let value = T::deserialize(ObjectsOnly(&mut json))?;
    json.end()?;
    Ok(value)
}

/// As [`from_slice`], from a value.
pub fn from_value<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, Error> {
    if value.is_array() {
        return Err(de::Error::custom(FOUND_ARRAY));
    }
    nested(value)
}

/// As [`from_slice`], for a struct whose fields are all scalars: without the wrapper, for headers
/// on the path of every file.
pub fn flat_from_slice<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Error> {
    check_first(json)?;
    serde_json::from_slice(json)
}

/// As [`flat_from_slice`], from text.
pub fn flat_from_str<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Error> {
    check_first(json.as_bytes())?;
    serde_json::from_str(json)
}

/// For `deserialize_with` on fields that serde buffers before it knows their types: those of enums
/// with a `tag`, and those next to a `flatten`. There the check must begin anew.
pub fn nested<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    T::deserialize(ObjectsOnly(deserializer))
}

/// An enum with a `tag` takes an array whose first element is the tag without asking for a struct.
fn check_first(json: &[u8]) -> Result<(), Error> {
    let first = json.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        Err(de::Error::custom(FOUND_ARRAY))
    } else {
        Ok(())
    }
}

/// A wrapper of a serde type that wraps every value read through it.
pub struct ObjectsOnly<D>(pub D);

/// The visitor of a value; `IS_STRUCT` if it is to become a struct.
struct Watching<V, const IS_STRUCT: bool>(V);

macro_rules! forward {
    ($($method:ident($($arg:ident: $kind:ty),*)),* $(,)?) => {
        $(fn $method<V: Visitor<'de>>(
            self,
            $($arg: $kind,)*
            visitor: V,
        ) -> Result<V::Value, D::Error> {
            self.0.$method($($arg,)* Watching::<V, false>(visitor))
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for ObjectsOnly<D> {
    type Error = D::Error;

    forward! {
        deserialize_any(), deserialize_bool(), deserialize_i8(), deserialize_i16(),
        deserialize_i32(), deserialize_i64(), deserialize_i128(), deserialize_u8(),
        deserialize_u16(), deserialize_u32(), deserialize_u64(), deserialize_u128(),
        deserialize_f32(), deserialize_f64(), deserialize_char(), deserialize_str(),
        deserialize_string(), deserialize_bytes(), deserialize_byte_buf(), deserialize_option(),
        deserialize_unit(), deserialize_seq(), deserialize_map(), deserialize_identifier(),
        deserialize_ignored_any(),
        deserialize_unit_struct(name: &'static str), deserialize_newtype_struct(name: &'static str),
        deserialize_tuple(len: usize), deserialize_tuple_struct(name: &'static str, len: usize),
        deserialize_enum(name: &'static str, variants: &'static [&'static str]),
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0
            .deserialize_struct(name, fields, Watching::<V, true>(visitor))
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident: $kind:ty),* $(,)?) => {
        $(fn $method<E: de::Error>(self, value: $kind) -> Result<V::Value, E> {
            self.0.$method(value)
        })*
    };
}

impl<'de, V: Visitor<'de>, const IS_STRUCT: bool> Visitor<'de> for Watching<V, IS_STRUCT> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    visit! {
        visit_bool: bool, visit_i8: i8, visit_i16: i16, visit_i32: i32, visit_i64: i64,
        visit_i128: i128, visit_u8: u8, visit_u16: u16, visit_u32: u32, visit_u64: u64,
        visit_u128: u128, visit_f32: f32, visit_f64: f64, visit_char: char, visit_str: &str,
        visit_borrowed_str: &'de str, visit_string: String, visit_bytes: &[u8],
        visit_borrowed_bytes: &'de [u8], visit_byte_buf: Vec<u8>,
    }

    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(ObjectsOnly(value))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(ObjectsOnly(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        if IS_STRUCT {
            return Err(de::Error::custom(FOUND_ARRAY));
        }
        self.0.visit_seq(ObjectsOnly(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(ObjectsOnly(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, value: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(ObjectsOnly(value))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for ObjectsOnly<A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, A::Error> {
        self.0.next_element_seed(Seed(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for ObjectsOnly<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.0.next_value_seed(Seed(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for ObjectsOnly<A> {
    type Error = A::Error;
    type Variant = ObjectsOnly<A::Variant>;

    fn variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, Self::Variant), A::Error> {
        self.0
            .variant_seed(seed)
            .map(|(value, variant)| (value, ObjectsOnly(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for ObjectsOnly<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        self.0.newtype_variant_seed(Seed(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(len, Watching::<V, false>(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.struct_variant(fields, Watching::<V, true>(visitor))
    }
}

/// Reads a value within another one.
struct Seed<T>(T);

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Seed<T> {
    type Value = T::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T::Value, D::Error> {
        self.0.deserialize(ObjectsOnly(deserializer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::status::StatusReport;
    use crate::protocol::{Message, json};

    fn refused<T: fmt::Debug>(read: Result<T, impl fmt::Display>) {
        let error = read.expect_err("an array is no object").to_string();
        assert!(error.contains(FOUND_ARRAY), "{error}");
    }

    /// An enum with a tag, which serde takes from an array, too, and keeps aside before it knows
    /// the variant.
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    enum Tagged {
        One {
            number: u64,
        },
        Many {
            #[serde(deserialize_with = "nested")]
            all: Vec<Inner>,
        },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        number: u64,
    }

    #[test]
    fn an_array_is_no_message_no_payload_and_no_tagged_object() {
        refused(Message::decode(br#" ["stored",null,7]"#));
        refused(json::parse_payload(&bytes::Bytes::from_static(
            b"\n[\"file\",\"title\",\"content\",1]",
        )));
        refused(from_slice::<Tagged>(br#"["one", 7]"#));
        refused(from_slice::<Tagged>(br#"["one", {"number": 7}]"#));
        let one = br#"{"kind": "one", "number": 7}"#;
        assert_eq!(
            from_slice::<Tagged>(one).unwrap(),
            Tagged::One { number: 7 }
        );
        assert!(from_slice::<Tagged>(br#"{"kind": "one", "number": 7} x"#).is_err());
    }

    #[test]
    fn an_array_within_stands_for_no_object_either() {
        let report = serde_json::json!({
            "uptime_s": 1.0,
            "accepted": 1,
            "accepted_bytes": 2,
            "delivered": 3,
            "delivered_bytes": 4,
            "queue": {
                "ready": 1, "delayed": 0, "in_flight": 0, "bytes": 5,
                "dead": 0, "max_files": 1, "max_bytes": 1,
            },
            "servers": [],
        });
        from_str::<StatusReport>(&report.to_string()).unwrap();
        let mut odd = report.clone();
        odd["queue"] = serde_json::json!([1, 0, 0, 5, null, 0, 1, 1]);
        refused(from_str::<StatusReport>(&odd.to_string()));
        odd = report;
        odd["servers"] = serde_json::json!([["127.0.0.1:5001"]]);
        refused(from_str::<StatusReport>(&odd.to_string()));
        // serde keeps the fields behind a tag aside first.
        refused(from_str::<Tagged>(r#"{"kind": "many", "all": [[1]]}"#));
        let many = r#"{"kind": "many", "all": [{"number": 1}]}"#;
        let all = vec![Inner { number: 1 }];
        assert_eq!(from_str::<Tagged>(many).unwrap(), Tagged::Many { all });
    }
}

//! The specification's tables as data, read from `tables/*.txt`, and messages built from them byte by byte without the
//! crate under test.

use proptest::prelude::*;

/// One message table.
#[derive(Clone, Debug)]
pub struct Table {
    pub direction: &'static str,
    pub message_type: u8,
    pub name: &'static str,
    pub length: usize,
    pub appendage: Rule,
    pub tags: Vec<u8>,
    pub fields: Vec<Field>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    None,
    Always,
    Optional,
}

#[derive(Clone, Debug)]
pub struct Field {
    pub offset: usize,
    pub length: usize,
    pub name: &'static str,
    pub alpha: bool,
}

/// A message's bytes, and what they mean.
#[derive(Clone, Debug)]
pub struct Message {
    pub table: Table,
    pub bytes: Vec<u8>,
}

pub const OUCH: &str = include_str!("tables/ouch50.txt");
pub const ITCH: &str = include_str!("tables/itch50.txt");

/// Tags of OUCH appendage elements and the bytes of their values.
pub const TAG_WIDTHS: [(u8, usize); 26] = [
    (1, 8),
    (2, 4),
    (3, 4),
    (4, 1),
    (5, 4),
    (6, 1),
    (7, 4),
    (9, 8),
    (10, 1),
    (11, 4),
    (12, 1),
    (13, 4),
    (14, 4),
    (15, 4),
    (16, 1),
    (17, 1),
    (18, 1),
    (22, 4),
    (23, 8),
    (24, 2),
    (25, 1),
    (26, 4),
    (27, 1),
    (28, 1),
    (29, 1),
    (30, 2),
];

pub fn width(tag: u8) -> usize {
    TAG_WIDTHS.iter().find(|(found, _)| *found == tag).expect("a tag of the specification").1
}

pub fn read(text: &'static str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&'static str> = line.split_whitespace().collect();
        if line.starts_with(' ') {
            let [offset, length, name, kind] = words[..] else { panic!("field row: {line}") };
            let (offset, length) = (offset.parse().unwrap(), length.parse().unwrap());
            tables.last_mut().unwrap().fields.push(Field { offset, length, name, alpha: kind == "alpha" });
        } else {
            let appendage = match words[4] {
                "none" => Rule::None,
                "always" => Rule::Always,
                "optional" => Rule::Optional,
                other => panic!("appendage rule {other}"),
            };
            tables.push(Table {
                direction: words[0],
                message_type: words[1].as_bytes()[0],
                name: words[2],
                length: words[3].parse().unwrap(),
                appendage,
                tags: words[5..].iter().map(|tag| tag.parse().unwrap()).collect(),
                fields: Vec::new(),
            });
        }
    }
    tables
}

impl Table {
    /// Bytes without AppendageLength.
    pub fn fixed(&self) -> usize {
        if self.appendage == Rule::None { self.length } else { self.length - 2 }
    }

    /// The message with `fields` behind its type (zeros where that ends) and `elements`, each a tag and its value.
    pub fn message(&self, fields: &[u8], elements: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = vec![self.message_type];
        bytes.extend(fields.iter().copied().chain(std::iter::repeat(0)).take(self.fixed() - 1));
        let appendage: Vec<u8> = elements
            .iter()
            .flat_map(|(tag, value)| [&[value.len() as u8 + 1, *tag], &value[..]].concat())
            .collect();
        let written = match self.appendage {
            Rule::None => false,
            Rule::Always => true,
            Rule::Optional => !appendage.is_empty(),
        };
        if written {
            bytes.extend((appendage.len() as u16).to_be_bytes());
            bytes.extend(appendage);
        }
        bytes
    }

    /// Any legal message of this table.
    pub fn messages(&self) -> impl Strategy<Value = Message> + use<> {
        let table = self.clone();
        let fields = prop::collection::vec(any::<u8>(), self.fixed() - 1);
        let count = 0..=self.tags.len();
        let elements = count
            .prop_flat_map({
                let tags = self.tags.clone();
                move |count| prop::sample::subsequence(tags.clone(), count).prop_shuffle()
            })
            .prop_flat_map(|tags| {
                tags.into_iter()
                    .map(|tag| (Just(tag), prop::collection::vec(any::<u8>(), width(tag))))
                    .collect::<Vec<_>>()
            });
        (fields, elements).prop_map(move |(fields, elements)| Message {
            bytes: table.message(&fields, &elements),
            table: table.clone(),
        })
    }
}

/// What the derived `Debug` of a message prints for the values that the table finds in `bytes`.
pub fn described(table: &Table, bytes: &[u8]) -> String {
    let fields: Vec<String> = table
        .fields
        .iter()
        .map(|field| {
            let value = &bytes[field.offset..field.offset + field.length];
            let value = if field.alpha {
                format!("{value:?}")
            } else {
                value.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte)).to_string()
            };
            format!("{}: {value}", field.name)
        })
        .collect();
    if fields.is_empty() {
        table.name.to_string()
    } else {
        format!("{} {{ {} }}", table.name, fields.join(", "))
    }
}

/// Any legal message of any of the tables.
pub fn any_message(tables: Vec<Table>) -> impl Strategy<Value = Message> {
    prop::sample::select(tables).prop_flat_map(|table| table.messages())
}

/// Bytes that are nearly a legal message: some overwritten, cut off or added.
pub fn nearly(messages: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (messages, changes, any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..4), 0..3u8)
        .prop_map(|(mut bytes, changes, cut, added, how)| {
            for (index, value) in changes {
                if !bytes.is_empty() {
                    let index = index.index(bytes.len());
                    bytes[index] = value;
                }
            }
            match how {
                0 => bytes.truncate(cut.index(bytes.len() + 1)),
                1 => bytes.extend(added),
                _ => {}
            }
            bytes
        })
}

//! Checks JSON against a JSON schema: the part of draft 2020-12 that the schemas of this repository use. An unknown keyword is an error, so that
//! nothing is passed over in silence.

use serde_json::Value;

/// Keywords that describe and demand nothing.
const DESCRIPTIVE: [&str; 6] = ["$schema", "$defs", "title", "description", "default", "format"];

/// The first place at which `value` is not what `schema` says, or `Ok`.
pub fn check(schema: &Value, value: &Value) -> Result<(), String> {
    at(schema, schema, value, "$")
}

fn at(root: &Value, schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    if let Value::Bool(allowed) = schema {
        return if *allowed { Ok(()) } else { Err(format!("{path}: nothing is allowed here")) };
    }
    let keywords = schema.as_object().ok_or_else(|| format!("{path}: a schema that is no object"))?;
    for (keyword, demand) in keywords {
        let wrong = |what: &str| Err(format!("{path}: {what}, found {value}"));
        match keyword.as_str() {
            "$ref" => {
                let pointer = demand.as_str().and_then(|text| text.strip_prefix('#')).unwrap_or_default();
                let target = root.pointer(pointer).ok_or_else(|| format!("{path}: no schema {demand}"))?;
                at(root, target, value, path)?;
            }
            "type" => {
                let allowed: Vec<&str> = match demand {
                    Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
                    one => one.as_str().into_iter().collect(),
                };
                if !allowed.iter().any(|name| is_of(value, name)) {
                    return wrong(&format!("expected {demand}"));
                }
            }
            "const" if demand != value => return wrong(&format!("expected {demand}")),
            "enum" if !demand.as_array().is_some_and(|values| values.contains(value)) => {
                return wrong(&format!("expected one of {demand}"));
            }
            "const" | "enum" => {}
            "minimum" if value.as_f64() < demand.as_f64() && value.is_number() => {
                return wrong(&format!("at least {demand}"));
            }
            "maximum" if value.as_f64() > demand.as_f64() && value.is_number() => {
                return wrong(&format!("at most {demand}"));
            }
            "minItems"
                if value
                    .as_array()
                    .is_some_and(|items| (items.len() as u64) < demand.as_u64().unwrap_or(0)) =>
            {
                return wrong(&format!("at least {demand} items"));
            }
            "maxItems"
                if value
                    .as_array()
                    .is_some_and(|items| items.len() as u64 > demand.as_u64().unwrap_or(0)) =>
            {
                return wrong(&format!("at most {demand} items"));
            }
            "minimum" | "maximum" | "minItems" | "maxItems" => {}
            "required" => {
                for name in demand.as_array().into_iter().flatten().filter_map(Value::as_str) {
                    if value.is_object() && value.get(name).is_none() {
                        return Err(format!("{path}: `{name}` is missing"));
                    }
                }
            }
            "properties" => {
                for (name, inner) in demand.as_object().into_iter().flatten() {
                    if let Some(field) = value.get(name) {
                        at(root, inner, field, &format!("{path}.{name}"))?;
                    }
                }
            }
            "additionalProperties" => {
                let known = keywords.get("properties").and_then(Value::as_object);
                for (name, field) in value.as_object().into_iter().flatten() {
                    if !known.is_some_and(|known| known.contains_key(name)) {
                        at(root, demand, field, &format!("{path}.{name}"))?;
                    }
                }
            }
            "items" | "prefixItems" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    let inner = if keyword == "items" { Some(demand) } else { demand.get(index) };
                    if let Some(inner) = inner {
                        at(root, inner, item, &format!("{path}[{index}]"))?;
                    }
                }
            }
            "anyOf" | "oneOf" => {
                let results: Vec<Result<(), String>> = demand
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|inner| at(root, inner, value, path))
                    .collect();
                let passed = results.iter().filter(|result| result.is_ok()).count();
                if passed == 0 || (keyword == "oneOf" && passed > 1) {
                    let reasons: Vec<String> = results.into_iter().filter_map(Result::err).collect();
                    return Err(format!("{path}: {passed} of {keyword} fit: {}", reasons.join("; ")));
                }
            }
            name if DESCRIPTIVE.contains(&name) => {}
            other => return Err(format!("{path}: the keyword `{other}` is not known here")),
        }
    }
    Ok(())
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_fits_passes_and_what_does_not_is_named() {
        let schema = json!({
            "oneOf": [
                { "$ref": "#/$defs/run", "properties": { "kind": { "const": "run" } }, "required": ["kind"] },
                { "properties": { "kind": { "const": "echo" } }, "required": ["kind"] },
            ],
            "$defs": { "run": {
                "type": "object",
                "properties": {
                    "orders": { "type": "integer", "minimum": 0 },
                    "rates": { "type": "array", "items": { "type": ["number", "null"] } },
                    "pair": { "prefixItems": [{ "type": "number" }, { "type": "string" }], "minItems": 2, "maxItems": 2 },
                },
                "required": ["orders"],
                "additionalProperties": { "type": "string" },
            } },
        });
        let good = json!({ "kind": "run", "orders": 3, "rates": [1.5, null], "pair": [1, "a"] });
        assert_eq!(check(&schema, &good), Ok(()));
        for (field, wrong, said) in [
            ("orders", json!(-1), "at least 0"),
            ("orders", json!("3"), "expected \"integer\""),
            ("rates", json!(["x"]), "rates[0]"),
            ("pair", json!([1]), "at least 2 items"),
            ("kind", json!("walk"), "0 of oneOf"),
            ("more", json!(5), "$.more"),
        ] {
            let mut value = good.clone();
            value[field] = wrong;
            let problem = check(&schema, &value).expect_err(field);
            assert!(problem.contains(said), "{problem}");
        }
        assert!(check(&json!({ "madeUp": 1 }), &json!(1)).is_err());
    }
}

//! Operator commands: authorised by token, turned into inputs, applied by the shards they concern.

use super::{Admin, AdminRequest};
use crate::config::{RiskConfig, padded};
use crate::inputs::{Input, KillScope, Role};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use book::TradingState;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// A shard answers within one turn of its loop; one that does not for this long is not running.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

type Parameters = BTreeMap<String, String>;
type Answer = (StatusCode, String);

/// `POST /commands/NAME?key=value`: see `docs/operations.md` for the names.
pub async fn command(
    State(admin): State<Arc<Admin>>,
    Path(command): Path<String>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Answer {
    let presented = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    match (&admin.token, presented) {
        (None, _) => {
            return (StatusCode::FORBIDDEN, "commands are off: admin.token is not set\n".to_owned());
        }
        (Some(token), Some(presented)) if equal_in_constant_time(token, presented) => {}
        _ => {
            return (
                StatusCode::UNAUTHORIZED,
                "expected the header Authorization: Bearer TOKEN\n".to_owned(),
            );
        }
    }
    if command == "snapshot" {
        admin.shards.iter().for_each(|shard| shard.snapshot.ask());
        return (StatusCode::ACCEPTED, "snapshots asked for; the log says when they are taken\n".to_owned());
    }
    match parse(&command, &parameters) {
        Ok(input) => {
            tracing::info!(command, ?parameters, "operator command");
            apply(&admin, input, parameters.get("symbol")).await
        }
        Err(problem) => (StatusCode::BAD_REQUEST, problem + "\n"),
    }
}

/// Whether two secrets are the same, in a time that tells nothing about where they differ.
fn equal_in_constant_time(left: &str, right: &str) -> bool {
    left.len() == right.len()
        && left.bytes().zip(right.bytes()).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

fn parse(command: &str, parameters: &Parameters) -> Result<Input<'static>, String> {
    let state = |state| -> Result<Input<'static>, String> {
        Ok(Input::SetState { symbol: parameters.get("symbol").map(|symbol| padded(symbol)), state })
    };
    match command {
        "pre-open" => state(TradingState::PreOpen),
        "open" | "resume" => state(TradingState::Open),
        "halt" => state(TradingState::Halted),
        "auction" => state(TradingState::Auction),
        "close" => state(TradingState::Closed),
        "kill" | "unkill" => {
            let scope = match (parameters.get("firm"), parameters.get("session")) {
                (None, None) => KillScope::All,
                (Some(firm), None) => KillScope::Firm(padded(firm)),
                (None, Some(session)) => KillScope::Session(number("session", session)?),
                _ => return Err("give firm or session, not both".to_owned()),
            };
            Ok(Input::KillSwitch { scope, engaged: command == "kill" })
        }
        "restrict" | "unrestrict" => Ok(Input::Restriction {
            firm: padded(required(parameters, "firm")?),
            symbol: padded(required(parameters, "symbol")?),
            restricted: command == "restrict",
        }),
        "register" | "deregister" => Ok(Input::Registration {
            firm: padded(required(parameters, "firm")?),
            symbol: padded(required(parameters, "symbol")?),
            role: match parameters.get("primary").map(String::as_str) {
                _ if command == "deregister" => Role::Trader,
                None | Some("false") => Role::MarketMaker,
                Some("true") => Role::PrimaryMarketMaker,
                Some(other) => return Err(format!("primary is {other:?}; expected true or false")),
            },
        }),
        "reference-price" => Ok(Input::ReferencePrice {
            symbol: padded(required(parameters, "symbol")?),
            price: number("price", required(parameters, "price")?)?,
        }),
        "risk" => {
            let risk = risk(parameters)?;
            match (parameters.get("firm"), parameters.get("session")) {
                (Some(firm), None) => Ok(Input::Firm { firm: padded(firm), risk }),
                (None, Some(session)) => {
                    Ok(Input::SessionRisk { session: number("session", session)?, risk })
                }
                _ => Err("give either firm or session".to_owned()),
            }
        }
        other => Err(format!(
            "unknown command {other:?}; expected pre-open, open, resume, halt, auction, close, kill, unkill, restrict, \
             unrestrict, register, deregister, reference-price, risk or snapshot"
        )),
    }
}

/// All limits at once: what is not given is not limited.
fn risk(parameters: &Parameters) -> Result<RiskConfig, String> {
    fn limit<T: std::str::FromStr + Default>(parameters: &Parameters, key: &str) -> Result<T, String> {
        parameters.get(key).map_or(Ok(T::default()), |text| number(key, text))
    }
    Ok(RiskConfig {
        max_order_quantity: limit(parameters, "max_order_quantity")?,
        max_order_notional: limit(parameters, "max_order_notional")?,
        max_open_orders: limit(parameters, "max_open_orders")?,
        max_gross_exposure: limit(parameters, "max_gross_exposure")?,
        max_messages_per_second: limit(parameters, "max_messages_per_second")?,
        collar_basis_points: limit(parameters, "collar_basis_points")?,
    })
}

fn required<'a>(parameters: &'a Parameters, key: &str) -> Result<&'a str, String> {
    parameters.get(key).map(String::as_str).ok_or_else(|| format!("parameter {key} is missing"))
}

fn number<T: std::str::FromStr>(key: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{key} is {text:?}; expected a number"))
}

/// Sends the input to the shard that has the symbol, or to all of them, and waits for what came of it.
async fn apply(admin: &Admin, input: Input<'static>, symbol: Option<&String>) -> Answer {
    let symbol: Option<[u8; 8]> = symbol.map(|symbol| padded(symbol));
    let concerned: Vec<usize> = (0..admin.shards.len())
        .filter(|&shard| symbol.is_none_or(|symbol| admin.shards[shard].symbols.contains(&symbol)))
        .collect();
    if concerned.is_empty() {
        return (StatusCode::NOT_FOUND, "no shard has that symbol\n".to_owned());
    }
    let mut status = StatusCode::OK;
    let mut text = String::new();
    for shard in concerned {
        let (answer, answered) = oneshot::channel();
        let pushed = admin.shards[shard]
            .requests
            .lock()
            .is_ok_and(|mut ring| ring.push(AdminRequest { input, answer }).is_ok());
        let outcome = if pushed {
            match tokio::time::timeout(ANSWER_TIMEOUT, answered).await {
                Ok(Ok(outcome)) => outcome,
                _ => Err("no answer: is the shard running?".to_owned()),
            }
        } else {
            Err("too many commands are waiting".to_owned())
        };
        match outcome {
            Ok(()) => text += &format!("shard {shard}: done\n"),
            Err(problem) => {
                status = StatusCode::CONFLICT;
                text += &format!("shard {shard}: {problem}\n");
            }
        }
    }
    (status, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn commands_become_inputs() {
        assert_eq!(
            parse("halt", &parameters(&[("symbol", "AAPL")])),
            Ok(Input::SetState { symbol: Some(*b"AAPL    "), state: TradingState::Halted })
        );
        assert_eq!(
            parse("kill", &parameters(&[("firm", "DEMO")])),
            Ok(Input::KillSwitch { scope: KillScope::Firm(*b"DEMO"), engaged: true })
        );
        assert!(parse("risk", &parameters(&[("firm", "DEMO"), ("max_open_orders", "x")])).is_err());
        let maker = [("firm", "DEMO"), ("symbol", "AAPL"), ("primary", "true")];
        let role = |role| Ok(Input::Registration { firm: *b"DEMO", symbol: *b"AAPL    ", role });
        assert_eq!(parse("register", &parameters(&maker)), role(Role::PrimaryMarketMaker));
        assert_eq!(parse("register", &parameters(&maker[..2])), role(Role::MarketMaker));
        assert_eq!(parse("deregister", &parameters(&maker[..2])), role(Role::Trader));
        assert!(parse("explode", &Parameters::new()).unwrap_err().contains("expected pre-open"));
    }

    #[test]
    fn tokens_are_compared_whole() {
        assert!(equal_in_constant_time("secret", "secret"));
        assert!(!equal_in_constant_time("secret", "secreT"));
        assert!(!equal_in_constant_time("secret", "secre"));
    }
}

//! Market makers on the feed: what registers, suspends and ends them, and that it survives a snapshot. Not the orders that a
//! kill switch cancels.

use engine::inputs::{Input, KillScope, Role};
use engine::shard::Shard;

use crate::ask::{TEN, alpha, buy, disable};
use crate::venue::{Raw, Venue, genesis, rules};

fn registration(firm: &str, symbol: &str, role: Role) -> Input<'static> {
    Input::Registration { firm: alpha(firm), symbol: alpha(symbol), role }
}

fn kill(scope: KillScope, engaged: bool) -> Input<'static> {
    Input::KillSwitch { scope, engaged }
}

fn restriction(symbol: &str, restricted: bool) -> Input<'static> {
    Input::Restriction { firm: alpha("FRMA"), symbol: alpha(symbol), restricted }
}

/// FRMA makes the market in AAA and, as the primary one, in BBB; FRMB in AAA.
fn venue() -> Venue {
    let mut v = Venue::new();
    v.when(registration("FRMA", "BBB", Role::PrimaryMarketMaker), "", "maker FRMA Y A");
    v.when(registration("FRMA", "AAA", Role::MarketMaker), "", "maker FRMA N A");
    v.when(registration("FRMB", "AAA", Role::MarketMaker), "", "maker FRMB N A");
    v
}

#[test]
fn a_registration_is_published_when_it_changes_and_when_it_ends() {
    let mut v = venue();
    v.when(registration("FRMA", "AAA", Role::MarketMaker), "", "");
    v.when(registration("FRMA", "AAA", Role::PrimaryMarketMaker), "", "maker FRMA Y A");
    v.when(registration("FRMA", "AAA", Role::Trader), "", "maker FRMA Y D");
    v.when(registration("FRMA", "AAA", Role::Trader), "", "");
    v.on(0, buy(1, 100, TEN), "0: accepted 1 B100@10.00 as #1", "add #1 B100@10.00");
    assert!(v.try_input(registration("FRMA", "NONE", Role::MarketMaker)).is_err());
    assert!(v.shard.would_apply(&registration("FRMA", "NONE", Role::MarketMaker)).is_err());
}

#[test]
fn a_firm_is_suspended_where_the_venue_refuses_its_orders() {
    let mut v = venue();
    v.given(0, &[&buy(1, 100, TEN)]);
    let firm = KillScope::Firm(alpha("FRMA"));
    v.when(kill(firm, true), "0: canceled 1 -100 S", "deleted #1; maker FRMA N S; maker FRMA Y S");
    v.when(kill(firm, true), "", "");
    // For everyone on top of it: only FRMB was still active.
    v.when(kill(KillScope::All, true), "", "maker FRMB N S");
    v.when(kill(firm, false), "", "");
    v.when(restriction("BBB", true), "", "");
    v.when(kill(KillScope::All, false), "", "maker FRMA N A; maker FRMB N A");
    v.when(restriction("BBB", false), "", "maker FRMA Y A");
    v.when(restriction("CCC", true), "", "");
    v.when(registration("FRMA", "CCC", Role::MarketMaker), "", "maker FRMA N S");
}

#[test]
fn what_one_session_does_or_suffers_leaves_its_firm_active() {
    let mut v = venue();
    v.on(0, disable(1, "", 0), "0: disabled 1", "");
    v.when(kill(KillScope::Session(1), true), "", "");
}

#[test]
fn a_restored_shard_knows_its_market_makers() {
    let mut v = venue();
    v.input(restriction("BBB", true));
    v.raw = Raw::default();
    let mut state = Vec::new();
    v.shard.write_state(&mut state);
    let restored = Shard::restore(&state).expect("what a shard wrote");
    assert_eq!(restored.state_hash(), v.shard.state_hash());
    v.shard = restored;
    v.when(registration("FRMB", "AAA", Role::MarketMaker), "", "");
    v.when(kill(KillScope::All, true), "", "maker FRMA N S; maker FRMB N S");
}

/// Snapshots of version 1 are restored, and hashed as they were: what they cannot say is not there.
#[test]
fn a_state_without_market_makers_is_written_as_version_1() {
    let mut v = Venue::of_first_rules(genesis()).furnished();
    v.input(restriction("AAA", true));
    v.given(2, &[&buy(1, 100, TEN)]);
    let mut state = Vec::new();
    v.shard.write_state(&mut state);
    assert_eq!(state[..2], [0, 1]);
    // Computed by the last program that knew only version 1.
    assert_eq!(v.shard.state_hash(), 1_981_606_811_925_226_241);
    let restored = Shard::restore(&state).expect("version 1");
    assert_eq!(restored.state_hash(), v.shard.state_hash());
    v.input(registration("FRMA", "AAA", Role::MarketMaker));
    v.input(registration("FRMA", "AAA", Role::Trader));
    let mut again = Vec::new();
    v.shard.write_state(&mut again);
    assert_eq!(again[..2], [0, 1]);
    // What version 1 cannot say makes it another version, market makers or not.
    v.input(Input::Rules(rules()));
    let mut now = Vec::new();
    v.shard.write_state(&mut now);
    assert_eq!(now[..2], [0, 3]);
    assert_eq!(Shard::restore(&now).expect("version 3").state_hash(), v.shard.state_hash());
}

//! `larder health --deep`.

use larder_proto::admin::{BreakerState, GetHealthRequest, GetHealthResponse, TierHealth};

use super::{
    super::{
        client::Server,
        error::Exit,
        output::{Output, plain},
        show,
        table::{Side, Table},
        units::{NONE, count, show_time},
    },
    CliError, describe, tier_name,
};

/// Lets a replica probe every tier, and prints the results. An unhealthy replica is an error.
pub(crate) async fn check(server: &Server, json: bool) -> Result<(), CliError> {
    let reply = server.call(server.admin().get_health(server.request(GetHealthRequest {}))).await?;
    let mut out = Output::new();
    if json {
        show::message(&mut out, "larder.admin.v1.GetHealthResponse", &reply)?;
    } else {
        out.text(&render(&reply))?;
    }
    out.flush()?;
    if reply.healthy { Ok(()) } else { Err(CliError::new(Exit::Unavailable, "the replica is not healthy")) }
}

fn render(health: &GetHealthResponse) -> String {
    let mut lines = vec![
        describe(health.replica.as_ref()),
        if health.healthy { "healthy" } else { "not healthy" }.to_owned(),
        String::new(),
    ];
    let mut table = Table::new([
        (Side::Left, "TIER"),
        (Side::Left, "STATE"),
        (Side::Right, "TOOK"),
        (Side::Left, "BREAKER"),
        (Side::Left, "PROBLEM"),
    ]);
    for tier in &health.tiers {
        table.row(cells(tier));
    }
    lines.extend(table.lines());
    lines.push(String::new());
    if let Some(bus) = &health.bus {
        let state = if bus.connected { "connected" } else { "not connected" };
        lines.push(format!("bus            {state}, lag {}", show_time(bus.lag.as_ref())));
    }
    if let Some(log) = &health.change_log {
        let look = match &log.last_look {
            Some(ago) => format!("looked at {} ago", show_time(Some(ago))),
            None => "not looked at yet".to_owned(),
        };
        let rows =
            log.rows.map_or_else(|| "an unknown number of rows".to_owned(), |rows| format!("{} rows", count(rows)));
        lines.push(format!(
            "change log     {look} (must be within {}); {rows}",
            show_time(log.staleness_bound.as_ref())
        ));
        if !log.problem.is_empty() {
            lines.push(format!("               INCOMPLETE: {}", plain(&log.problem)));
        }
    }
    lines.join("\n") + "\n"
}

fn cells(tier: &TierHealth) -> [String; 5] {
    let breaker = match tier.breaker() {
        BreakerState::Unspecified => NONE,
        BreakerState::Closed => "closed",
        BreakerState::Open => "open",
    };
    [
        tier_name(tier.tier()).to_owned(),
        if tier.healthy { "works" } else { "fails" }.to_owned(),
        show_time(tier.latency.as_ref()),
        breaker.to_owned(),
        if tier.problem.is_empty() { NONE.to_owned() } else { plain(&tier.problem).into_owned() },
    ]
}

#[cfg(test)]
mod tests {
    use larder_proto::{
        admin::{BusHealth, ChangeLogHealth},
        catalog::CacheTier,
    };

    use super::*;

    #[test]
    fn what_fails_is_told() {
        let millis = |millis: i32| Some(prost_types::Duration { seconds: 0, nanos: millis * 1_000_000 });
        let l1 = TierHealth { tier: CacheTier::L1.into(), healthy: true, latency: millis(1), ..TierHealth::default() };
        let l2 = TierHealth {
            tier: CacheTier::L2.into(),
            problem: "Redis is\naway".into(),
            breaker: BreakerState::Open.into(),
            ..TierHealth::default()
        };
        let text = render(&GetHealthResponse {
            replica: None,
            healthy: false,
            tiers: vec![l1, l2],
            bus: Some(BusHealth { connected: false, lag: millis(0) }),
            change_log: Some(ChangeLogHealth {
                last_look: millis(250),
                staleness_bound: millis(999),
                rows: Some(1_200),
                problem: "a trigger is off".into(),
            }),
        });
        let expected = "\
a replica that does not say which
not healthy

TIER  STATE     TOOK  BREAKER  PROBLEM
L1    works  1.00 ms  -        -
L2    fails        -  open     Redis is\\naway

bus            not connected, lag 0 ns
change log     looked at 250 ms ago (must be within 999 ms); 1,200 rows
               INCOMPLETE: a trigger is off
";
        assert_eq!(text, expected);
    }
}

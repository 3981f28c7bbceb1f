//! What every scenario is played on, and what it reports.

use std::{
    fmt::Display,
    ops::Div,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use larder_test_servers::Faults;

use crate::{
    figures::Hits,
    load::{Load, READERS},
    pauses::Pauses,
    probe,
    report::Report,
    shop::Shop,
    world::{Plan, World},
};

/// The load is this high at least, where nothing holds it up.
pub(crate) const RATE: u64 = 1_000;
/// By so many points the share of reads that memory answers may be lower than it was before a fault.
const POINTS: f64 = 2.0;
/// Seconds that a fault lasts at most in the brief form.
const BRIEF: u64 = 2;
/// How long the load runs before the share is settled: some products are deleted by then, as later on.
const SETTLE: Duration = Duration::from_secs(4);

/// How long everything takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As long as it should.
    Full,
    /// Some minutes for all scenarios.
    Short,
    /// As short as it may be, on a machine that does other things besides: what is asked for is that nothing wrong is read and
    /// that no call fails which must not, not how fast anything is.
    Brief,
}

/// What was asked for on the command line.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// The binary `larder`.
    pub(crate) program: PathBuf,
    /// How long everything takes.
    pub(crate) form: Form,
    /// What chance begins with.
    pub(crate) seed: u64,
}

/// A world with a shop in it, and perhaps under load.
#[derive(Debug)]
pub(crate) struct Stage {
    // The load ends first.
    load: Option<(Load, Instant, u64)>,
    /// The shop.
    pub(crate) shop: Arc<Shop>,
    /// The processes.
    pub(crate) world: World,
    seed: u64,
    brief: bool,
    tokens: bool,
    pauses: Pauses,
    /// The share while nothing was broken, and the count at which the last fault began.
    healthy: Option<(f64, Hits)>,
    report: Report,
}

impl Setup {
    /// A length in seconds: the short one, or the whole one.
    pub(crate) fn seconds(&self, short: u64, full: u64) -> Duration {
        Duration::from_secs(match self.form {
            Form::Full => full,
            Form::Short => short,
            Form::Brief => short.min(BRIEF),
        })
    }

    /// A number: the small one, or the whole one.
    pub(crate) fn count<T: Copy + Ord + From<u8> + Div<Output = T>>(&self, short: T, full: T) -> T {
        match self.form {
            Form::Full => full,
            Form::Short => short,
            // Twice, so that there is a second time, unless once will do.
            Form::Brief => (short / T::from(10)).max(T::from(2)).min(short),
        }
    }

    /// Starts the processes with nothing out of the ordinary, and creates the keys.
    pub(crate) async fn stage(&self) -> anyhow::Result<Stage> {
        self.stage_with(|_| {}).await
    }

    /// Like [`Setup::stage`], with other settings.
    pub(crate) async fn stage_with(&self, change: impl FnOnce(&mut Plan)) -> anyhow::Result<Stage> {
        let mut plan = Plan::of(&self.program);
        if self.form != Form::Full {
            // A busy machine is no slow database.
            plan.replicas.push(("LARDER_LOAD_TIMEOUT", "20s".to_owned()));
        }
        change(&mut plan);
        let world = World::start(&plan).await?;
        let addresses: Vec<_> = world.replicas().iter().map(larder_test_servers::Replica::address).collect();
        let shop = Shop::open(&addresses, plan.calls).await?;
        probe::prepare(&shop).await?;
        Ok(Stage {
            load: None,
            shop,
            world,
            seed: self.seed,
            brief: self.form == Form::Brief,
            tokens: true,
            pauses: Pauses::start(),
            healthy: None,
            report: Report::default(),
        })
    }

    /// Like [`Setup::stage_with`], with nothing left but messages of Redis and the regular look at the change log: no
    /// notifications of the database, and no reads with tokens. What Redis does is felt then.
    pub(crate) async fn quiet_stage_with(&self, change: impl FnOnce(&mut Plan)) -> anyhow::Result<Stage> {
        let stage = self.stage_with(|plan| {
            plan.postgres.push(("larder.notify".to_owned(), "off".to_owned()));
            change(plan);
        });
        Ok(Stage { tokens: false, ..stage.await? })
    }

    /// Like [`Setup::quiet_stage_with`], with nothing out of the ordinary.
    pub(crate) async fn quiet_stage(&self) -> anyhow::Result<Stage> {
        self.quiet_stage_with(|_| {}).await
    }
}

impl Stage {
    /// Starts the load, and gives the memories a moment to fill.
    pub(crate) async fn start_load(&mut self) {
        // All of them keep a machine busy with a build that is not optimised, while everything else waits.
        let readers = if self.brief { READERS / 5 } else { READERS };
        let load = Load::start(&self.shop, readers, self.seed, self.tokens);
        wait(Duration::from_secs(2)).await;
        self.shop.tally.reset_latencies();
        self.load = Some((load, Instant::now(), self.shop.tally.figures().requests));
    }

    /// Lets the load run with nothing broken, to compare with what follows.
    pub(crate) async fn stay_healthy(&mut self, setup: &Setup) {
        let mut before = Hits::default();
        // In the brief form nothing is compared.
        if !self.brief {
            wait(SETTLE).await;
            before = self.shop.tally.hits();
            wait(setup.seconds(8, 20)).await;
        }
        let now = self.shop.tally.hits();
        self.healthy = Some((now.since(before).percent(), now));
    }

    /// The share of reads that memory answers must not have fallen since nothing was broken, or since this was last said.
    pub(crate) fn must_keep_its_hits(&mut self, meanwhile: &str) {
        let Some((healthy, before)) = self.healthy else {
            return self.must(false, "it was never healthy, so that nothing can be compared");
        };
        let now = self.shop.tally.hits();
        let percent = now.since(before).percent();
        self.healthy = Some((healthy, now));
        let lowest = self.report.hits.map_or(percent, |(_, lowest)| lowest.min(percent));
        self.report.hits = Some((healthy, lowest));
        self.must_be_quick(
            percent > healthy - POINTS,
            format!("memory answered {percent:.1}% of the reads {meanwhile}, and {healthy:.1}% before"),
        );
    }

    /// Leads the load to these replicas.
    pub(crate) fn aim(&self, replicas: &[usize]) {
        if let Some((load, ..)) = &self.load {
            load.aim(replicas);
        }
    }

    /// Ends the load.
    pub(crate) async fn stop_load(&mut self) {
        self.report.rate = self.rate();
        if let Some((load, ..)) = self.load.take() {
            load.stop().await;
        }
    }

    /// How many requests a second there have been since the load began; of one that has ended, until then.
    fn rate(&self) -> u64 {
        let Some((_, since, requests)) = &self.load else {
            return self.report.rate;
        };
        let length = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        (self.shop.tally.figures().requests - requests) * 1_000 / length
    }

    /// Puts faults in force for a while, and then none.
    pub(crate) async fn with_faults(&self, faults: Faults, length: Duration) {
        self.world.set_faults(faults);
        wait(length).await;
        self.world.set_faults(Faults::default());
    }

    /// Says what was done, in numbers.
    pub(crate) fn did(&mut self, text: impl Display) {
        self.report.done.push(text.to_string());
    }

    /// Adds a figure of the scenario's own.
    pub(crate) fn note(&mut self, text: impl Display) {
        self.report.notes.push(text.to_string());
    }

    /// Says what must hold.
    pub(crate) fn must(&mut self, holds: bool, text: impl Display) {
        if !holds {
            self.report.broken.push(text.to_string());
        }
    }

    /// Says how fast something must be, where that is asked for.
    pub(crate) fn must_be_quick(&mut self, holds: bool, text: impl Display) {
        if !self.brief {
            self.must(holds, text);
        }
    }

    /// No call may have failed.
    pub(crate) fn must_be_without_errors(&mut self) {
        let errors = self.shop.tally.figures().errors();
        self.must(errors == 0, format!("{errors} calls failed"));
    }

    /// The load must not have been held up so far.
    pub(crate) fn must_keep_its_rate(&mut self) {
        let rate = self.rate();
        self.must_be_quick(rate >= RATE, format!("{rate} requests a second rather than {RATE}"));
    }

    /// Ends everything. Whatever the scenario was, no read may have been wrong.
    pub(crate) async fn end(mut self) -> Report {
        self.stop_load().await;
        let figures = self.shop.tally.figures();
        self.must(figures.wrong == 0, format!("{} reads were wrong", figures.wrong));
        self.must(figures.reads > 0, "nothing was read");
        let mut report = std::mem::take(&mut self.report);
        if !report.broken.is_empty() {
            report.shown = self.shop.tally.shown();
            report.shown.extend(self.world.logs());
        }
        report.figures = figures;
        report.longest_pause = self.pauses.longest();
        report
    }
}

/// Lets a fault last, or a load run.
pub(crate) async fn wait(length: Duration) {
    tokio::time::sleep(length).await;
}

//! A world around a container in which everything may come at any time: clients, ends of processes,
//! helpers that fail. In any order of these, no container is started twice, no client waits for
//! ever, and each stop ends by its deadline.

use super::*;
use corral_engine::spec::Grace;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// What may come next. What cannot come in the state of the world is left out.
#[derive(Debug, Clone, Copy)]
enum Step {
    Request(Request),
    Event(Event),
    PreparationEnds { well: bool },
    HelperMakes,
    HelperEnds { well: bool },
    ProcessEnds { code: i32, was_stable: bool },
    CleanupEnds,
    BackoffEnds,
    GraceEnds,
}

/// What a real machine would have, as far as effects are about it.
#[derive(Debug, Default)]
struct World {
    life: Life<u32>,
    preparing: bool,
    helper: bool,
    /// The helper has made a process.
    made: bool,
    process: bool,
    killed: bool,
    cleaning: bool,
    backoff: bool,
    grace: bool,
    forgotten: bool,
    clients: u32,
    /// What each client that was not refused requested, and the answer.
    asked: BTreeMap<u32, (Request, Option<Outcome>)>,
    last: Option<Request>,
}

impl World {
    fn take(&mut self, step: Step, rules: Rules) {
        if self.forgotten {
            return;
        }
        let event = match step {
            Step::Request(request) => return self.request(request, rules),
            Step::Event(Event::Killed { .. }) if !self.process => return,
            Step::Event(event) => {
                self.killed |= event == Event::Killed { surely: true };
                event
            }
            Step::PreparationEnds { well } if std::mem::take(&mut self.preparing) => {
                let prepared = Rules { needs_preparation: false, ..rules };
                let event = if well { Event::Prepared } else { Event::LaunchFailed };
                return self.handle(event, prepared);
            }
            Step::HelperMakes if self.helper && !self.made => {
                (self.made, self.process) = (true, true);
                Event::Made
            }
            Step::HelperEnds { well } if self.helper && (!well || self.made) => {
                (self.helper, self.made) = (false, false);
                if well { Event::Started } else { Event::LaunchFailed }
            }
            Step::ProcessEnds { code, was_stable } if std::mem::take(&mut self.process) => {
                self.killed = false;
                Event::Ended { code, was_stable }
            }
            Step::CleanupEnds if std::mem::take(&mut self.cleaning) => Event::CleanedUp,
            Step::BackoffEnds if std::mem::take(&mut self.backoff) => Event::BackoffOver,
            Step::GraceEnds if std::mem::take(&mut self.grace) => Event::GraceOver,
            _ => return,
        };
        self.handle(event, rules);
    }

    fn request(&mut self, request: Request, rules: Rules) {
        self.clients += 1;
        let before = self.life.clone();
        match self.life.request(self.clients, request, rules) {
            Ok(effects) => {
                self.asked.insert(self.clients, (request, None));
                self.last = Some(request);
                self.carry_out(effects, rules);
            }
            Err(_) => assert_eq!(self.life, before, "a refused request changes nothing"),
        }
    }

    fn handle(&mut self, event: Event, rules: Rules) {
        let effects = self.life.handle(event, rules);
        self.carry_out(effects, rules);
    }

    fn carry_out(&mut self, effects: Vec<Effect<u32>>, rules: Rules) {
        for effect in effects {
            match effect {
                Effect::Prepare => {
                    self.assert_nothing_of_it_is_there();
                    self.preparing = true;
                }
                Effect::HurryPreparation => assert!(self.preparing),
                Effect::CancelPreparation => assert!(std::mem::take(&mut self.preparing)),
                Effect::Launch => {
                    self.assert_nothing_of_it_is_there();
                    self.helper = true;
                }
                Effect::Signal(how) => {
                    assert!(self.process, "nothing is there to be stopped");
                    self.grace = how != Stop::Within(Grace::Unlimited);
                }
                Effect::Kill => {
                    assert!(self.process, "nothing is there to be killed");
                    self.killed = true;
                }
                Effect::CleanUp => {
                    assert!(!self.process && !self.helper && !self.cleaning);
                    self.cleaning = true;
                }
                Effect::SetBackoff(_) => self.backoff = true,
                Effect::ClearBackoff => self.backoff = false,
                Effect::ClearGrace => self.grace = false,
                Effect::StartAgain => self.handle(Event::Start, rules),
                Effect::Report(_) => assert!(!self.forgotten),
                Effect::Answer(client, outcome) => {
                    let (_, answer) = self.asked.get_mut(&client).expect("this client asked");
                    assert_eq!(answer.replace(outcome), None, "client {client} is answered twice");
                }
                Effect::Forget { .. } => {
                    self.assert_nothing_of_it_is_there();
                    self.forgotten = true;
                }
            }
        }
    }

    fn assert_nothing_of_it_is_there(&self) {
        assert!(!self.process && !self.helper && !self.cleaning && !self.preparing, "{self:?}");
    }

    /// A process that is to end was killed, or is going to be.
    fn assert_stops_end(&self) {
        let is_stopping = self.life.state() == State::Stopping && self.process && !self.helper;
        let unlimited = Stop::Within(Grace::Unlimited);
        let is_unlimited =
            [Goal::Down(unlimited), Goal::Again(unlimited)].contains(&self.life.goal);
        assert!(!is_stopping || self.killed || self.grace || is_unlimited, "{self:?}");
    }

    /// Takes every step that comes by itself, until none is left. Helpers end, and a process ends
    /// if it was killed or may end by itself when requested to.
    fn come_to_rest(&mut self, rules: Rules) {
        for _ in 0..50 {
            self.take(Step::PreparationEnds { well: true }, rules);
            self.take(Step::HelperMakes, rules);
            self.take(Step::HelperEnds { well: true }, rules);
            self.take(Step::GraceEnds, rules);
            let may_end = self.life.state() == State::Stopping && !self.helper;
            if self.killed || may_end {
                self.take(Step::ProcessEnds { code: 137, was_stable: true }, rules);
            }
            self.take(Step::CleanupEnds, rules);
            self.take(Step::BackoffEnds, rules);
        }
    }
}

fn stops() -> impl Strategy<Value = Stop> {
    prop_oneof![
        Just(Stop::AsDefined),
        Just(Stop::Within(Grace::Limited(Duration::from_secs(1)))),
        Just(Stop::Within(Grace::Unlimited)),
        Just(Stop::Kill)
    ]
}

fn requests() -> impl Strategy<Value = Request> {
    prop_oneof![
        4 => Just(Request::Start),
        4 => stops().prop_map(Request::Stop),
        3 => stops().prop_map(Request::Restart),
        1 => any::<bool>().prop_map(|force| Request::Remove { force }),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => requests().prop_map(Step::Request),
        1 => prop_oneof![
            3 => Just(Event::Start),
            3 => any::<bool>().prop_map(|surely| Event::Killed { surely }),
            1 => Just(Event::Stop),
            1 => Just(Event::Replace),
        ].prop_map(Step::Event),
        1 => any::<bool>().prop_map(|well| Step::PreparationEnds { well }),
        2 => Just(Step::HelperMakes),
        2 => any::<bool>().prop_map(|well| Step::HelperEnds { well }),
        2 => (0..3_i32, any::<bool>())
            .prop_map(|(code, was_stable)| Step::ProcessEnds { code, was_stable }),
        2 => Just(Step::CleanupEnds),
        1 => Just(Step::BackoffEnds),
        1 => Just(Step::GraceEnds),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    let policy = prop_oneof![
        Just(RestartPolicy::No),
        Just(RestartPolicy::Always),
        Just(RestartPolicy::UnlessStopped),
        prop::option::of(1..3_u32).prop_map(RestartPolicy::OnFailure)
    ];
    (policy, any::<bool>())
        .prop_map(|(policy, needs_preparation)| Rules { policy, needs_preparation })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_client_is_answered_and_the_last_request_wins(
        rules in rules(),
        steps in prop::collection::vec(steps(), 0..60),
    ) {
        let mut world = World::default();
        let is_replaced = steps.iter().any(|step| matches!(step, Step::Event(Event::Replace)));
        for step in steps {
            if let Step::Event(_) = step {
                world.last = None;
            }
            world.take(step, rules);
            world.assert_stops_end();
        }
        world.come_to_rest(rules);
        prop_assert!(world.life.waiting.is_empty() , "{world:?}");
        for (client, (request, answer)) in &world.asked {
            prop_assert!(
                answer.is_some(),
                "client {client} waits for ever: {request:?}, {world:?}"
            );
        }
        let state = world.life.state();
        match world.last {
            _ if is_replaced => prop_assert!(world.forgotten, "{world:?}"),
            Some(Request::Remove { .. }) => prop_assert!(world.forgotten),
            _ if world.forgotten => {}
            Some(Request::Stop(_)) => prop_assert_eq!(state, State::Exited),
            Some(Request::Start | Request::Restart(_)) if rules.policy == RestartPolicy::Always => {
                prop_assert_eq!(state, State::Running);
            }
            _ => prop_assert!(
                matches!(state, State::Created | State::Exited | State::Running),
                "{world:?}"
            ),
        }
    }
}

const NEVER: Rules = Rules { policy: RestartPolicy::No, needs_preparation: false };
const ALWAYS: Rules = Rules { policy: RestartPolicy::Always, needs_preparation: false };

/// A container that runs.
fn running() -> World {
    let mut world = World::default();
    for step in [Step::Request(Request::Start), Step::HelperMakes, Step::HelperEnds { well: true }]
    {
        world.take(step, NEVER);
    }
    assert_eq!(world.life.state(), State::Running);
    world
}

impl World {
    /// The answers, in the order of the requests.
    fn answers(&self) -> Vec<Option<Outcome>> {
        self.asked.values().map(|(_, answer)| *answer).collect()
    }
}

#[test]
fn a_start_is_answered_when_it_runs() {
    assert_eq!(running().answers(), [Some(Outcome::Done)]);
}

#[test]
fn a_program_that_ends_before_its_helper_reports_was_started_all_the_same() {
    let mut world = World::default();
    let steps = [
        Step::Request(Request::Start),
        Step::HelperMakes,
        Step::ProcessEnds { code: 0, was_stable: false },
        Step::HelperEnds { well: true },
    ];
    steps.into_iter().for_each(|step| world.take(step, NEVER));
    assert_eq!(world.answers(), [Some(Outcome::Done)]);
    assert!(world.cleaning);
}

#[test]
fn a_stop_after_a_restart_cancels_the_start() {
    let mut world = running();
    world.take(Step::Request(Request::Restart(Stop::AsDefined)), ALWAYS);
    world.take(Step::Request(Request::Stop(Stop::AsDefined)), ALWAYS);
    world.come_to_rest(ALWAYS);
    assert_eq!(world.life.state(), State::Exited);
    assert_eq!(world.answers()[1..], [Some(Outcome::Stopped), Some(Outcome::Done)]);
}

#[test]
fn what_a_client_killed_is_not_started_by_its_policy() {
    let mut world = running();
    world.take(Step::Event(Event::Killed { surely: true }), ALWAYS);
    world.take(Step::ProcessEnds { code: 137, was_stable: true }, ALWAYS);
    world.take(Step::CleanupEnds, ALWAYS);
    assert_eq!(world.life.state(), State::Exited);
}

#[test]
fn a_policy_with_a_limit_ends_where_nothing_can_be_started() {
    let mut world = World::default();
    let twice = Rules { policy: RestartPolicy::OnFailure(Some(2)), needs_preparation: false };
    world.take(Step::Event(Event::Start), twice);
    for _ in 0..3 {
        world.take(Step::HelperEnds { well: false }, twice);
        world.take(Step::BackoffEnds, twice);
    }
    assert_eq!((world.life.state(), world.life.restarts()), (State::Exited, 2));
}

#[test]
fn a_forced_removal_kills_even_what_is_not_started_yet() {
    let mut world = World::default();
    world.take(Step::Request(Request::Start), NEVER);
    world.take(Step::Request(Request::Remove { force: true }), NEVER);
    world.take(Step::HelperMakes, NEVER);
    assert!(world.killed);
    world.take(Step::HelperEnds { well: false }, NEVER);
    world.come_to_rest(NEVER);
    assert!(world.forgotten);
    assert_eq!(world.answers(), [Some(Outcome::Stopped), Some(Outcome::Done)]);
}

#[test]
fn what_was_stopped_during_its_pause_can_be_replaced() {
    let mut world = running();
    world.take(Step::ProcessEnds { code: 1, was_stable: false }, ALWAYS);
    world.take(Step::CleanupEnds, ALWAYS);
    assert_eq!(world.life.state(), State::Restarting);
    world.take(Step::Request(Request::Stop(Stop::AsDefined)), ALWAYS);
    assert_eq!((world.life.state(), world.backoff), (State::Exited, false));
    world.take(Step::Event(Event::Replace), ALWAYS);
    assert!(world.forgotten);
}

#[test]
fn what_was_killed_and_has_not_ended_yet_can_be_started() {
    let mut world = running();
    world.take(Step::Event(Event::Killed { surely: true }), NEVER);
    world.take(Step::Request(Request::Start), NEVER);
    world.come_to_rest(NEVER);
    assert_eq!(world.life.state(), State::Running);
    assert_eq!(world.answers(), [Some(Outcome::Done), Some(Outcome::Done)]);
}

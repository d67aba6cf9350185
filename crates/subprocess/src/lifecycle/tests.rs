//! The table of a child's life, over every pair of state and event.

use super::*;

const STAGES: [Stage; 5] =
    [Stage::Opening, Stage::Refused, Stage::Open, Stage::Closing, Stage::Lost];
const CHILDREN: [Child; 3] = [Child::Running, Child::Exited, Child::Told];
const EVENTS: [LifeEvent; 8] = [
    LifeEvent::PipeOpened,
    LifeEvent::Greeted,
    LifeEvent::Close,
    LifeEvent::Exited,
    LifeEvent::ExitTold,
    LifeEvent::PipeEnded,
    LifeEvent::Lose,
    LifeEvent::LoopClosed,
];

fn at(stage: Stage, child: Child, pipes: u8) -> Life {
    Life { stage, child, pipes }
}

#[test]
fn every_stage_meets_every_event() {
    use Stage::*;
    let row = |event| STAGES.map(|stage| at(stage, Child::Running, 1).on(event).stage);
    assert_eq!(row(LifeEvent::PipeOpened), STAGES);
    assert_eq!(row(LifeEvent::Greeted), [Open, Closing, Open, Closing, Lost]);
    // once more changes nothing
    assert_eq!(row(LifeEvent::Close), [Refused, Refused, Closing, Closing, Lost]);
    assert_eq!(row(LifeEvent::Exited), STAGES);
    assert_eq!(row(LifeEvent::ExitTold), STAGES);
    assert_eq!(row(LifeEvent::PipeEnded), STAGES);
    assert_eq!(row(LifeEvent::Lose), [Opening, Refused, Lost, Lost, Lost]);
    assert_eq!(row(LifeEvent::LoopClosed), [Lost; 5]);
}

#[test]
fn every_state_of_the_child_meets_every_event() {
    use Child::*;
    for event in EVENTS {
        let row = CHILDREN.map(|child| at(Stage::Open, child, 1).on(event).child);
        let expected = match event {
            LifeEvent::Exited => [Exited, Exited, Told],
            LifeEvent::ExitTold => [Running, Told, Told],
            _ => CHILDREN,
        };
        assert_eq!(row, expected, "{event:?}");
    }
}

#[test]
fn pipes_are_counted() {
    for event in EVENTS {
        let row = [0, 1, 2].map(|pipes| at(Stage::Open, Child::Running, pipes).on(event).pipes);
        let expected = match event {
            LifeEvent::PipeOpened => [1, 2, 3],
            LifeEvent::PipeEnded => [0, 0, 1],
            _ => [0, 1, 2],
        };
        assert_eq!(row, expected, "{event:?}");
    }
}

#[test]
fn what_is_owed_follows_from_the_state() {
    for stage in STAGES {
        for child in CHILDREN {
            for pipes in 0..=3 {
                let owed = at(stage, child, pipes).owed();
                let expected = match stage {
                    Stage::Lost => None,
                    // nothing comes before connection_made
                    Stage::Opening | Stage::Refused => Some(Owed::ConnectionMade),
                    Stage::Open | Stage::Closing => match child {
                        Child::Running => None,
                        Child::Exited => Some(Owed::ProcessExited),
                        // the exit, and every pipe, come before the loss
                        Child::Told => (pipes == 0).then_some(Owed::ConnectionLost),
                    },
                };
                assert_eq!(owed, expected, "{stage:?} {child:?} {pipes}");
            }
        }
    }
}

#[test]
fn each_state_answers_what_it_is() {
    let each = |ask: fn(Life) -> bool| STAGES.map(|stage| ask(at(stage, Child::Running, 0)));
    assert_eq!(each(Life::is_greeted), [false, false, true, true, true]);
    assert_eq!(each(Life::is_closing), [false, true, false, true, true]);
    assert_eq!(each(Life::is_lost), [false, false, false, false, true]);
    let running = CHILDREN.map(|child| at(Stage::Open, child, 0).is_running());
    assert_eq!(running, [true, false, false]);
}

from flywheel.diagnosis import input_problems, none_share, unknown_labels, unknown_names
from flywheel.lineage import nearest
from flywheel.metrics import IntentPair, Tallies
from flywheel.records import Intent

INTENTS = (
    Intent(name="set_alarm", renamed_from=("alarm",)),
    Intent(name="play_music"),
    Intent(name="stop"),
)


def test_unknown_names_are_counted_with_the_nearest_intent_and_former_names_are_known():
    pairs = (
        IntentPair(predicted="set_alarm", truth="Set Alarm", correct=False, count=2),
        IntentPair(predicted="PlayMusic", truth=None, correct=False, count=1),
    )
    tallies = Tallies(volume={"PlayMusic": 5, "alarm": 3, "none": 2, "zzz": 1}, pairs=pairs)
    found = unknown_names(tallies, INTENTS)
    assert [(one.intent, one.predictions, one.feedback, one.nearest) for one in found] == [
        ("PlayMusic", 5, 1, "play_music"),
        ("Set Alarm", 0, 2, "set_alarm"),
        ("zzz", 1, 0, None),
    ]


def test_the_nearest_name_is_found_by_words_by_letters_and_by_a_shared_word():
    names = [intent.name for intent in INTENTS]
    assert nearest("set-alarm", names) == "set_alarm"
    assert nearest("set_alrm", names) == "set_alarm"
    assert nearest("music.start", names) == "play_music"
    assert nearest("weather", names) is None


def test_an_unusual_share_of_none_is_said_and_the_usual_one_is_not():
    many = Tallies(volume={"none": 90, "set_alarm": 5, "play_music": 5})
    assert none_share(many) == 0.9
    assert [one.what for one in input_problems(many, INTENTS)] == [
        "90% of 100 recent predictions call nothing (`none`)"
    ]
    assert input_problems(many, INTENTS, usual_none=0.8) == []
    assert input_problems(Tallies(volume={"none": 40}), INTENTS) == []
    assert none_share(Tallies()) is None


def test_intents_that_never_occur_are_said_where_there_was_time_for_them():
    silent = Tallies(volume={"stop": 60})
    assert list(map(str, input_problems(silent, INTENTS))) == [
        "2 of 3 intents never occur in 60 recent predictions: set_alarm, play_music: are all "
        "channels sent, under these names?"
    ]
    assert input_problems(Tallies(volume={"stop": 40}), INTENTS) == []
    assert input_problems(Tallies(volume={"stop": 30, "alarm": 30}), INTENTS) == []


def test_the_command_for_an_unknown_name_with_a_space_can_be_pasted():
    tallies = Tallies(volume={"Set Alarm": 2}, pairs=())
    problem = input_problems(tallies, [Intent(name="set_alarm")])[0]
    assert problem.next_step == "flywheel intents alias 'Set Alarm' set_alarm"


def test_a_label_that_is_no_intent_is_told_with_its_count_and_the_line_that_adds_it():
    wrong = IntentPair(predicted="stop", truth="qa_factoid", correct=False, count=32)
    tallies = Tallies(volume={"stop": 60, "play_music": 9, "alarm": 9}, pairs=(wrong,))
    said = (
        "32 labels say `qa_factoid`, which is no intent: add it to the intents (intents.toml: "
        '[[intent]] name = "qa_factoid"), or map it: flywheel intents alias qa_factoid NEW'
    )
    assert unknown_labels(tallies, INTENTS) == [said]
    assert list(map(str, input_problems(tallies, INTENTS))) == [said]
    assert unknown_labels(Tallies(volume={"qa_factoid": 3}), INTENTS) == []

"""What of a text leaves the machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.records import Brief, Intent
from flywheel.teacher.prompts import requests
from flywheel.teacher.redaction import in_ascii_forms, redact


@pytest.mark.parametrize(
    ("text", "leaves"),
    [
        ("mail anna@example.org please", "mail [email] please"),
        ("write to anna at example dot com", "write to [email]"),
        ("call 415-555-2671 now", "call [phone] now"),
        ("ruf +49 30 901820 an", "ruf [phone] an"),
        ("llama al 612 34 56 78", "llama al [phone]"),
        ("我的手机号是13812345678", "我的手机号是[phone]"),
        ("pay with 4111 1111 1111 1111 exp 12/29", "pay with [card] exp 12/29"),
        ("IBAN DE89 3704 0044 0532 0130 00 please", "IBAN [iban] please"),
        ("my ssn is 536-90-4399", "my ssn is [id]"),
        ("身份证 11010519491231002X", "身份证 [id]"),
        ("dni 12345678Z", "dni [id]"),
        ("aadhaar 2341 2341 2346", "aadhaar [id]"),
        ("send 2000 to account 123456789012", "send 2000 to account [number]"),
        ("key sk-proj-abcdEFGHijklMNOP1234", "key [key]"),
        ("my password is hunter22", "my password is [key]"),
        ("use AKIAIOSFODNN7EXAMPLE", "use [key]"),
        ("ping 192.168.0.17", "ping [address]"),
        ("身份证１１０１０５１９４９１２３１００２Ｘ帮我订票", "身份证[id]帮我订票"),
        ("身份证号110105 19491231 002x", "身份证号[id]"),
        ("打１３８００１３８０００给他", "打[phone]给他"),
        ("打电话给幺三八零零一三八零零零", "打电话给[phone]"),
        ("拨打010-62345678", "拨打[phone]"),
        ("轉到卡號6222 0212 3456 7890 128謝謝", "轉到卡號[card]謝謝"),
        ("卡号6222021234567890123", "卡号[id]"),
        ("发邮件到anna@example.org告诉他", "发邮件到[email]告诉他"),
        ("我的密码是abc123请记住", "我的密码是[key]请记住"),
        ("我的密碼：１２３４５６", "我的密碼：[key]"),
        ("连接192.168.1.1的路由", "连接[address]的路由"),
        ("用sk-abcdefghijklmnopqrst1登录", "用[key]登录"),
        ("护照号E12345678", "护照号[id]"),
        ("加我微信号anna_wei88", "加我微信号[id]"),
        ("车牌京A12345违章了吗", "车牌[plate]违章了吗"),
        ("٠٥٥ ١٢٣ ٤٥٦٧ ٨٩٠", "[phone]"),
    ],
)
def test_personal_values_are_replaced_by_their_kind(text, leaves):
    assert redact(text).text == leaves


@pytest.mark.parametrize(
    "text",
    [
        "set an alarm for 7:30 on 2026-11-22",
        "transfer 1,000,000 dollars",
        "what is 25 * 4000",
        "wake me at 0630 tomorrow",
        "flight ba2490 at 10:45",
        "what's my pin number",
        "明天早上七点叫我",
        "２０２６年１１月３０日七点叫我",
        "放一千零一个愿望",
        "密码忘了怎么办",
        "打开QQ music",
        "放五月天的歌，音量调到３０％",
        "play 99 red balloons",
    ],
)
def test_times_amounts_and_names_of_things_stay(text):
    assert redact(text).text == text


@given(st.text())
def test_every_character_keeps_its_place_where_digits_are_made_plain(text):
    assert len(in_ascii_forms(text)) == len(text)


@given(st.text())
def test_what_is_hidden_once_stays_as_it_is(text):
    once = redact(text).text
    assert redact(once).hidden == () or redact(once).text != text


def test_no_personal_value_is_in_a_request_unless_it_is_asked_for():
    brief = Brief(
        id="b-1",
        intent=Intent(name="call"),
        neighbour=None,
        failed_texts=("call 415-555-2671",),
        examples=("mail anna@example.org",),
        contrast=("my ssn is 536-90-4399",),
        ask=3,
        why="",
    )
    (sent,) = requests(brief, 10)
    (bare,) = requests(brief, 10, redact=False)
    for value in ("2671", "anna", "4399"):
        assert value not in sent.messages[1]["content"]
        assert value in bare.messages[1]["content"]

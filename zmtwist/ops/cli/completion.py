"""Completion of `zmnextctl` in shells, written from its own argument parser: `etc/completion/` holds what comes out of here. Pure."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import attrs

FILES: Final = "FILE"
"""The metavar of arguments that are completed with file names."""

NOTE: Final = '# Written by "zmnextctl completion {}", from its options; a test holds it to them.'


@attrs.frozen
class Option:
    """One option; `value` is the metavar of what it takes, None for a switch."""

    name: str
    help: str
    value: str | None


@attrs.frozen
class Verb:
    """One verb, or (without a name) what may stand before any. `takes` is the metavar of its argument, None where it has none."""

    name: str
    help: str
    options: tuple[Option, ...]
    takes: str | None = None


def verbs_of(parser: argparse.ArgumentParser) -> tuple[Verb, tuple[Verb, ...]]:
    """What may stand before the verb, and every verb that is not hidden. argparse has no public way to look at a parser."""
    (chosen,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    shown = {action.dest: action.help or "" for action in chosen._choices_actions}
    return _verb("", "", parser), tuple(_verb(name, text, chosen.choices[name]) for name, text in shown.items())


def _verb(name: str, text: str, parser: argparse.ArgumentParser) -> Verb:
    options, takes = [], None
    for action in parser._actions:
        if action.option_strings:
            value = None if action.nargs == 0 else str(action.metavar)
            options.append(Option(action.option_strings[-1], action.help or "", value))
        elif not isinstance(action, argparse._SubParsersAction):
            takes = str(action.metavar)
    return Verb(name, text, tuple(options), takes)


def bash(parser: argparse.ArgumentParser) -> str:
    """The function for bash; it needs no package for completion."""
    before, verbs = verbs_of(parser)
    every = {option.name: option for verb in (before, *verbs) for option in verb.options if option.value is not None}
    files = "|".join(name for name, option in every.items() if option.value == FILES)
    others = "|".join(name for name, option in every.items() if option.value != FILES)
    names = " ".join(verb.name for verb in verbs)
    cases = "\n".join(_bash_case(verb, before) for verb in verbs)
    return f"""\
{NOTE.format("bash")}
_zmnextctl() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}} verb= words= files= i
    local common='{" ".join(option.name for option in before.options)}'
    COMPREPLY=()
    case $previous in
        {files}) files=1 ;;
        {others}) return ;;
        *)
            for ((i = 1; i < COMP_CWORD; i++)); do
                case ${{COMP_WORDS[i]}} in
                    {files}|{others}) ((i++)) ;;
                    -*) ;;
                    *) verb=${{COMP_WORDS[i]}}; break ;;
                esac
            done
            case $verb in
                '') words="$common {names}" ;;
{cases}
            esac
            ;;
    esac
    if [[ -n $files && $cur != -* ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    else
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    fi
}}
complete -F _zmnextctl zmnextctl
"""


def _bash_case(verb: Verb, before: Verb) -> str:
    words = " ".join(("$common", *(option.name for option in _own(verb, before))))
    return f'                {verb.name}) words="{words}"{" files=1" if verb.takes == FILES else ""} ;;'


def _own(verb: Verb, before: Verb) -> tuple[Option, ...]:
    """The options that may not stand before the verb; those that may are given to every verb as well."""
    return tuple(option for option in verb.options if option not in before.options)


def zsh(parser: argparse.ArgumentParser) -> str:
    """The function for zsh, to be found as `_zmnextctl` in its `fpath`."""
    before, verbs = verbs_of(parser)
    names = "\n".join(f"    {_quoted(f'{verb.name}:{verb.help}')}" for verb in verbs)
    cases = "\n".join(f"    {verb.name}) _arguments {' '.join(_zsh_arguments(verb, before))} ;;" for verb in verbs)
    common = "\n".join(f"    {_zsh_option(option)}" for option in before.options)
    return f"""\
#compdef zmnextctl
{NOTE.format("zsh")}
_zmnextctl() {{
  local curcontext=$curcontext state line
  local -a common=(
{common}
  )
  local -a verbs=(
{names}
  )
  _arguments -C $common '1:verb:->verb' '*::argument:->argument'
  if [[ $state == verb ]]; then
    _describe verb verbs
    return
  fi
  case $line[1] in
{cases}
  esac
}}
_zmnextctl "$@"
"""


def _zsh_arguments(verb: Verb, before: Verb) -> Iterator[str]:
    yield "$common"
    for option in _own(verb, before):
        yield _zsh_option(option)
    if verb.takes is not None:
        yield f"'1:{verb.takes}:{'_files' if verb.takes == FILES else ''}'"


def _zsh_option(option: Option) -> str:
    text = option.help.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
    value = "" if option.value is None else f":{option.value}:{'_files' if option.value == FILES else ''}"
    return _quoted(f"{option.name}[{text}]{value}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


SHELLS: Final[Mapping[str, Callable[[argparse.ArgumentParser], str]]] = {"bash": bash, "zsh": zsh}
"""By shell, what writes its completion."""

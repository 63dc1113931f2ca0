"""What performs: executors, tickets, the one way from a decision to an effect."""

from audition.act.ask import AskPerson
from audition.act.credential import SetupError
from audition.act.deploy import Deploy, DeployArguments, Measured, Measures
from audition.act.http import Http, HttpSetup, Origin
from audition.act.mail import Mail, MailSetup
from audition.act.performing import Refused, check, finished, issue, issued, perform
from audition.act.redeeming import InDoubt, Redemptions
from audition.act.remote import Remote, RemoteSetup
from audition.act.serving import alone, serve
from audition.act.shell import Shell
from audition.act.ssh import Ssh, SshSetup
from audition.act.tools import Tools, made
from audition.act.withheld import Withheld
from audition.act.write import WriteFile

__all__ = [
    "AskPerson",
    "Deploy",
    "DeployArguments",
    "Http",
    "HttpSetup",
    "InDoubt",
    "Mail",
    "MailSetup",
    "Measured",
    "Measures",
    "Origin",
    "Redemptions",
    "Refused",
    "Remote",
    "RemoteSetup",
    "SetupError",
    "Shell",
    "Ssh",
    "SshSetup",
    "Tools",
    "Withheld",
    "WriteFile",
    "alone",
    "check",
    "finished",
    "issue",
    "issued",
    "made",
    "perform",
    "serve",
]

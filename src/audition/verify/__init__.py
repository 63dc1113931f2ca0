"""What a ledger proves: its integrity, the conduct of every run, how a thinker was trained."""

from audition.verify.certificate import Certificate, CertificateError, certify
from audition.verify.cosigned import Witnesses
from audition.verify.finding import Finding
from audition.verify.verification import Verification, verify

__all__ = [
    "Certificate",
    "CertificateError",
    "Finding",
    "Verification",
    "Witnesses",
    "certify",
    "verify",
]

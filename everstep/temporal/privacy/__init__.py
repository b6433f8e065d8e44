"""What keeps payloads from those who run the server: encryption, compression, and storage of large ones elsewhere."""

from everstep.temporal.privacy.codec import PrivateCodec
from everstep.temporal.privacy.failures import PrivateFailureConverter
from everstep.temporal.privacy.files import FileDriver
from everstep.temporal.privacy.keys import KeyRing, Keys, find_keys
from everstep.temporal.privacy.sealing import Sealer
from everstep.temporal.privacy.settings import PrivacySettings, private_converter

__all__ = [
    "FileDriver",
    "KeyRing",
    "Keys",
    "PrivacySettings",
    "PrivateCodec",
    "PrivateFailureConverter",
    "Sealer",
    "find_keys",
    "private_converter",
]

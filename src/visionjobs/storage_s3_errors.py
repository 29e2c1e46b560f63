"""What an S3 server's refusal, or boto3's, means for a person: whose fault it is and what to do.

Codes: docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html, and those of other servers as they were met.
"""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as NoConnectionError
from s3transfer.exceptions import RetriesExceededError

from visionjobs.errors import MissingObjectError, ObjectExistsError, StorageError, UserError, VisionjobsError

_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    ProfileNotFound,
)
_SET_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to a key pair that may read, write and list there"

_Meaning = tuple[type[VisionjobsError], str]
_NO_BUCKET: _Meaning = (UserError, '{server} has no bucket "{bucket}"; make it, or correct the address')
_NO_OBJECT: _Meaning = (MissingObjectError, "there is no such object")
_EXISTS: _Meaning = (ObjectExistsError, "is there already")
_REGION: _Meaning = (UserError, "the bucket is in another region ({said}); set AWS_DEFAULT_REGION to that")
_CLOCK: _Meaning = (UserError, "{server} refused, because this machine's clock is wrong; set the clock")
_FULL: _Meaning = (StorageError, "{server} is full, or a quota is reached ({code}); free some space, then continue")
_FAILED: _Meaning = (StorageError, "{server} failed, also when asked again ({said}); continue when it is well")
_CREDENTIALS: _Meaning = (UserError, "{server} refused the credentials ({code}); " + _SET_CREDENTIALS)
_REFUSED: _Meaning = (UserError, "{server} refused {operation} ({said}); correct the address")

_BY_CODE = {
    "NoSuchBucket": _NO_BUCKET,
    "NoSuchKey": _NO_OBJECT,
    "PreconditionFailed": _EXISTS,
    "ConditionalRequestConflict": _EXISTS,
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "RequestTimeTooSkewed": _CLOCK,
    "InsufficientStorage": _FULL,
    "QuotaExceeded": _FULL,
    "XMinioStorageFull": _FULL,
    "XMinioAdminBucketQuotaExceeded": _FULL,
    "RequestTimeout": _FAILED,
    "SlowDown": _FAILED,
    "TooManyRequests": _FAILED,
    "OperationAborted": _FAILED,
    "NoSuchUpload": _FAILED,
    "InternalError": _FAILED,
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "AccessDenied": _CREDENTIALS,
    "ExpiredToken": _CREDENTIALS,
    "InvalidToken": _CREDENTIALS,
}
_BY_STATUS = {
    301: _REGION,
    401: _CREDENTIALS,
    403: _CREDENTIALS,
    404: _NO_OBJECT,
    412: _EXISTS,
    429: _FAILED,
    507: _FULL,
}


def is_conflict(error: ClientError) -> bool:
    """A conditional write was refused, because the object is there or is just being written."""
    return _status(error) == 412 or _code(error) in ("PreconditionFailed", "ConditionalRequestConflict")


def is_unsupported(error: ClientError) -> bool:
    """The server knows of conditional writes and refuses them."""
    return _status(error) == 501 or _code(error) == "NotImplemented"


def explain_s3_error(error: Exception, address: str, endpoint: str | None) -> VisionjobsError:
    """The error to raise for a failed request about `address`. Never holds a credential."""
    server = f"the S3 server {endpoint}" if endpoint else "Amazon S3 (AWS_ENDPOINT_URL is not set)"
    if isinstance(error, RetriesExceededError):
        error = error.last_exception
    if isinstance(error, ClientError):
        return _explain_answer(error, address, server)
    if isinstance(error, _NO_CREDENTIALS):
        return UserError(f"{address}: no usable credentials ({type(error).__name__}); {_SET_CREDENTIALS}")
    if isinstance(error, NoConnectionError | HTTPClientError | IncompleteReadError):
        return StorageError(
            f"{address}: {server} did not answer, or broke off ({type(error).__name__}), also when asked again; check "
            "AWS_ENDPOINT_URL and that the server is up, then continue"
        )
    if isinstance(error, ParamValidationError) and "bucket name" in str(error):  # its own words are four lines long
        return UserError(f'{address}: "{_bucket(address)}" is no possible name of a bucket; correct the address')
    if isinstance(error, BotoCoreError):
        return UserError(f"{address}: {error}; correct the address, or the AWS_* variables and files")
    return StorageError(f"{address}: the transfer from {server} broke off, or the object changed ({error}); try again")


def _explain_answer(error: ClientError, address: str, server: str) -> VisionjobsError:
    code, status = _code(error), _status(error)
    meaning = _BY_CODE.get(code) or _BY_STATUS.get(status) or (_FAILED if status >= 500 else _REFUSED)
    if meaning is _NO_OBJECT and error.operation_name == "HeadBucket":
        meaning = _NO_BUCKET
    kind, words = meaning
    told = words.format(
        server=server,
        bucket=_bucket(address),
        operation=error.operation_name,
        code=code,
        said=f"{code}: {error.response.get('Error', {}).get('Message', '')}".rstrip(": "),
    )
    return kind(f"{address}: {told}")


def _bucket(address: str) -> str:
    return address.removeprefix("s3://").partition("/")[0]


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: ClientError) -> int:
    """0 where the answer had none: one object's failure within a request about many."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))

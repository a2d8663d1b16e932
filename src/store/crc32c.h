/* CRC-32C (RFC 3720, appendix B.4) over more bytes, beginning with the result over those before; 0 at first. */
#pragma once

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *bytes, size_t len);

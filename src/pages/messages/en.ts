// Reviewed by a native reader: no, not yet read by a native reader.

import type { Messages } from '../messages.ts'

export const en: Messages = {
  name: 'English',
  direction: 'ltr',
  footer: 'Passerelle takes you to public services with an account you already have.',
  returnTo: service => `Return to ${service}`,
  returnToService: 'Return to the service',

  chooser: {
    title: 'Choose an account',
    heading: 'Which account do you want to use?',
    explanation: service => `To enter ${service}, sign in with an account you already have. You do this on that account’s own site: Passerelle never sees your password.`,
    accounts: 'Accounts you can choose',
    account: title => title,
    chosenAccount: 'The account you chose',
    beta: 'On trial',
    slow: 'Slow or not reliable right now: you may have to wait, or to try twice.',
    down: 'Not answering right now. Try again in a moment.',
    maintenance: 'Under maintenance',
    maintenanceDefault: 'This account will be back later.',
    acr_too_low: 'Not suitable: this service asks for a more secure sign-in.',
    fresh_login_unprovable: 'Not suitable: this service asks you to sign in afresh, and this account cannot confirm that you did.',
    not_allowed: 'This service does not accept this account.',
    retry: account => `Try again: ${account}`,
    again: 'Check again',
    noneAnswers: 'No account is answering right now. Come back in a few minutes: your request is kept.',
    noneUsable: 'No account can be used for this service right now. Come back later, or return to the service and look for another way in.'
  },
  notices: {
    provider_unavailable: {
      title: 'This account did not answer',
      text: account => `${account} did not answer in time. Nothing is lost: try again, or choose another account.`
    },
    provider_failed: {
      title: 'This account is not working properly',
      text: account => `${account} answered, but not as it should. Nothing is lost: try again in a moment, or choose another account.`
    },
    provider_refused: {
      title: 'The sign-in was not completed',
      text: account => `${account} did not confirm the sign-in: either you cancelled it, or it was refused. Try again, or choose another account.`
    },
    provider_answer_invalid: {
      title: 'The answer could not be verified',
      text: account => `${account} sent an answer that we could not verify. To protect you, we did not use it. Try again, or choose another account.`
    },
    provider_code_spent: {
      title: 'This sign-in was already used',
      text: () => 'This happens when a page is reloaded or when you click twice. Choose your account again to go on.'
    },
    login_elsewhere: {
      title: 'This answer belongs to another attempt',
      text: () => 'Another tab may be open, or you used the back button. Go on in the other tab, or choose an account again here.'
    },
    login_expired: {
      title: 'The time to sign in has run out',
      text: () => 'For your security, a sign-in must be completed within a limited time. Your request is kept: choose your account again.'
    },
    identity_expired: {
      title: 'The information page is no longer valid',
      text: () => 'It stayed open too long, another tab replaced it, or what it showed cannot be read any more. No information was sent from that page. Choose your account again.'
    },
    acr_too_low: {
      title: 'This service asks for a more secure sign-in',
      text: account => `${account} did not vouch for the level of security that this service needs. Choose another account, or a more secure way to sign in there.`
    },
    identity_incomplete: {
      title: 'Some information is missing',
      text: account => `${account} did not send everything that this service needs to recognise you. Nothing was passed on. Complete your details in that account, or choose another account.`
    },
    authentication_too_old: {
      title: 'You need to sign in afresh',
      text: account => `${account} reused an earlier sign-in, but this service asks for a new one. Sign out of that account first and try again, or choose another account.`
    },
    fresh_login_unprovable: {
      title: 'This account cannot confirm a fresh sign-in',
      text: account => `This service asks you to sign in afresh, and ${account} cannot confirm that you did. Choose another account.`
    },
    provider_maintenance: {
      title: 'This account is under maintenance',
      text: account => `${account} is under maintenance and cannot be used for now. Choose another account, or come back later.`
    },
    provider_not_allowed: {
      title: 'This account is not accepted here',
      text: account => `${account} is not one of the accounts that this service accepts. Choose another account.`
    },
  },

  consent: {
    title: 'Check what will be sent',
    heading: service => `What ${service} will receive`,
    from: provider => `You used ${provider}. If you continue, Passerelle will send this information:`,
    anonymous: (provider, service) => `You used ${provider}. If you continue, ${service} will not learn who you are: no identity is sent, only an identifier that is specific to this service.`,
    besides: 'Also sent:',
    identifier: 'An identifier that is specific to this service goes with it.',
    agree: service => `I agree that Passerelle sends this information to ${service}.`,
    agreeAnonymous: service => `I agree that Passerelle sends this identifier to ${service}.`,
    missing: 'Tick this box to continue, or choose “Refuse”.',
    error: 'Error:',
    continue: 'Continue',
    refuse: 'Refuse',
    refusing: service => `If you refuse, nothing is sent and you go back to ${service}.`,
    choose: 'Use another account'
  },

  claims: {
    given_name: 'First names',
    given_name_array: 'List of first names',
    middle_name: 'Middle names',
    family_name: 'Family name at birth',
    preferred_username: 'Name in use',
    name: 'Full name',
    nickname: 'Nickname',
    gender: 'Gender',
    birthdate: 'Date of birth',
    birthplace: 'Place of birth',
    birthcountry: 'Country of birth',
    email: 'Email address',
    email_verified: 'Email address verified',
    phone_number: 'Phone number',
    phone_number_verified: 'Phone number verified',
    address: 'Postal address',
    picture: 'Address of your picture',
    profile: 'Profile page',
    website: 'Website',
    locale: 'Language',
    zoneinfo: 'Time zone',
    updated_at: 'Information updated on',
    idp_id: 'Account used',
    acr: 'Level of security',
    amr: 'How you signed in',
    auth_time: 'Date of sign-in',
    sub: 'Identifier specific to this service'
  },
  values: {
    yes: 'Yes',
    no: 'No',
    gender: { female: 'Female', male: 'Male', unspecified: 'Not specified' },
    france: 'France',
    inseeCode: code => `${code} (Insee code)`,
    date: date => longDate.format(date),
    monthOnly: date => `${month.format(date)} (day not known)`,
    yearOnly: year => `${year} (day and month not known)`,
    amr: {
      pwd: 'password',
      pin: 'PIN',
      otp: 'one-time code',
      sms: 'code sent by text message',
      tel: 'phone call',
      hwk: 'security key',
      swk: 'software key',
      sc: 'smart card',
      face: 'face recognition',
      fpt: 'fingerprint',
      mfa: 'several factors'
    }
  },

  errors: {
    service_mistake: {
      title: 'The service sent a wrong request',
      happened: 'The service you come from sent Passerelle a request that we cannot accept. You did nothing wrong.',
      todo: 'Go back to the service and try again. If this goes on, tell the service: only they can mend it.'
    },
    service_closed: {
      title: 'This service is not open here',
      happened: 'The service you come from is not, or is no longer, connected to Passerelle.',
      todo: 'Go back to the service and look for another way to sign in, or ask them why.'
    },
    login_lost: {
      title: 'We cannot find your sign-in',
      happened: 'Your browser did not bring back the cookie of this sign-in. Either cookies are blocked, or you changed browsers on the way, or the sign-in began too long ago.',
      todo: 'Go back to the site of the service and start again. Stay in the same browser and check that it accepts cookies.'
    },
    temporarily_unavailable: {
      title: 'We cannot answer right now',
      happened: 'A part of Passerelle is not answering. This is not your doing, and nothing is lost.',
      todo: 'Wait a moment, then try again.'
    },
    provider_unknown: {
      title: 'This account does not exist here',
      happened: 'The account asked for is not, or is no longer, among those that Passerelle offers.',
      todo: 'Go back and choose another account.'
    },
    forbidden_form: {
      title: 'We refused this form',
      happened: 'This form was sent from a site other than Passerelle. To protect you, we took no notice of it.',
      todo: 'Start again from the service. If a message brought you here, do not answer it.'
    },
    not_found: {
      title: 'This page does not exist',
      happened: 'The address may be incomplete, or the page has moved.',
      todo: 'You reach Passerelle from a service. Go back to the site of the service and start there.'
    },
    too_large: {
      title: 'The request is too long',
      happened: 'Your browser sent more than we can receive at once.',
      todo: 'Start again from the service. If this goes on, delete Passerelle’s cookies in your browser, or tell the service.'
    },
    logout_not_recorded: {
      title: 'Signed out here, but not yet everywhere',
      happened: 'In this browser, your Passerelle session is closed. But we could not record it everywhere: some services may still be open in your name.',
      todo: 'Try again in a moment. Until then, sign out in each service you used as well.'
    },
    logout_request_wrong: {
      title: 'The request to sign out is wrong',
      happened: 'The service asked to sign you out, but its request is not valid: for example, the address to return to is not registered with us. You did nothing wrong.',
      todo: 'If you wanted to sign out, do so on the site of the service, then close all browser windows.'
    },
    unexpected: {
      title: 'Something unexpected happened',
      happened: 'Something went wrong on our side. This is not your doing.',
      todo: 'Try again in a moment. If this goes on, ask for help.'
    }
  },
  error: {
    whatToDo: 'What to do',
    retry: 'Try again',
    wayOn: 'You can close this page and go back to the site of the service.',
    support: 'Need help?',
    supportHow: 'Give both of these to the support team: they lead to the cause and say nothing about you.',
    code: 'Code',
    id: 'Number'
  },

  busy: {
    heading: 'Too many people are here right now',
    explanation: 'Passerelle is receiving more requests than it can answer at once. This is not your doing, and nothing is lost.',
    byItself: 'You have nothing to do: this page tries again by itself in a few seconds.',
    notTaken: 'What you just sent was not taken in. Wait a few seconds, go back with your browser’s back button and press the button again.'
  },

  logOut: {
    heading: 'Do you want to sign out?',
    asked: service => `${service} asks to sign you out.`,
    effect: 'Your Passerelle session will be closed in this browser. Services you entered with it may still be open: sign out there as well. Your account and your requests are untouched.',
    logOut: 'Sign out',
    stay: 'Do not sign out'
  },
  loggedOut: {
    heading: 'You are signed out',
    done: 'Passerelle no longer identifies you in this browser.',
    remaining: 'These services may still be open in your name. Remember to sign out there as well:',
    shared: 'If other people use this device, close all browser windows.'
  },
  goOn: {
    heading: service => `Back to ${service}`,
    explanation: 'If the next page does not appear by itself, use the button.',
    button: 'Continue'
  },

  finished: {
    heading: 'This sign-in is already complete',
    explanation: service => `You came back to a page you had already passed: the answer has gone to ${service}. There is nothing left to do here.`,
  }
}

const longDate = new Intl.DateTimeFormat('en-GB', { dateStyle: 'long', timeZone: 'UTC' })
const month = new Intl.DateTimeFormat('en-GB', { month: 'long', year: 'numeric', timeZone: 'UTC' })
